package main

import (
	"context"
	"regexp"

	"github.com/munjigi/munjigi/test/real/kit"
)

const (
	legacyRevision = "2025-11-25"
	modernRevision = "2026-07-28"
)

// row is one run of the suite: a client revision against a server, directly or
// through the gateway.
type row struct {
	Name     string
	About    string
	Revision string // what the suite's client speaks
	// Passed is how many scenarios must pass, neither fewer nor more.
	Passed int
	// Reference names the direct row that a gateway row is compared with; a
	// direct row has none.
	Reference string
	// Upstream starts the server. For a gateway row it says how the gateway
	// reaches it.
	Upstream upstream
	// Era is the gateway's `era` for the server.
	Era string
}

// upstream starts a server. A server over stdio is not started here: its
// command goes into the gateway's config.
type upstream func(ctx context.Context, t *kit.Tools) (*kit.Process, kit.Server, error)

func legacyHTTP(ctx context.Context, t *kit.Tools) (*kit.Process, kit.Server, error) {
	p, url, err := t.StartEverything(ctx, false)
	return p, kit.Server{URL: url}, err
}

func modernHTTP(ctx context.Context, t *kit.Tools) (*kit.Process, kit.Server, error) {
	p, url, err := t.StartEverything(ctx, true)
	return p, kit.Server{URL: url}, err
}

func everythingStdio(_ context.Context, t *kit.Tools) (*kit.Process, kit.Server, error) {
	return nil, kit.Server{Command: []string{t.Everything}}, nil
}

func fixtureHTTP(era string) upstream {
	return func(ctx context.Context, t *kit.Tools) (*kit.Process, kit.Server, error) {
		p, url, err := t.StartFixture(ctx, "-era", era)
		return p, kit.Server{URL: url}, err
	}
}

func fixtureStdio(era string) upstream {
	return func(_ context.Context, t *kit.Tools) (*kit.Process, kit.Server, error) {
		return nil, kit.Server{Command: []string{t.Fixture, "-era", era}}, nil
	}
}

// table is every row. The numbers of the direct rows are what those servers
// do by themselves.
func table() []row {
	return []row{
		{Name: "direct-legacy", About: "legacy client, legacy server", Revision: legacyRevision, Passed: 33, Upstream: legacyHTTP},
		{Name: "direct-modern", About: "modern client, modern server", Revision: modernRevision, Passed: 41, Upstream: modernHTTP},
		{Name: "direct-modern-legacy", About: "modern client, legacy server, nothing between", Revision: modernRevision, Passed: 7, Upstream: legacyHTTP},
		{Name: "direct-legacy-modern", About: "legacy client, stateless server", Revision: legacyRevision, Passed: 29, Upstream: modernHTTP},
		{Name: "direct-fixture-legacy", About: "legacy client, our legacy fixture", Revision: legacyRevision, Passed: 33, Upstream: fixtureHTTP("legacy")},
		{Name: "direct-fixture-modern", About: "modern client, our modern fixture with tasks", Revision: modernRevision, Passed: 50, Upstream: fixtureHTTP("modern")},

		{Name: "legacy-http", About: "legacy client, gateway, legacy server", Revision: legacyRevision, Passed: 33, Reference: "direct-legacy", Upstream: legacyHTTP, Era: "auto"},
		{Name: "legacy-stdio", About: "legacy client, gateway, server over stdio", Revision: legacyRevision, Passed: 33, Reference: "direct-legacy", Upstream: everythingStdio, Era: "auto"},
		{Name: "modern-http", About: "modern client, gateway, modern server", Revision: modernRevision, Passed: 41, Reference: "direct-modern", Upstream: modernHTTP, Era: "auto"},
		{Name: "modern-stdio", About: "modern client, gateway, server over stdio", Revision: modernRevision, Passed: 41, Reference: "direct-modern", Upstream: everythingStdio, Era: "auto"},
		{Name: "modern-to-legacy", About: "modern client, gateway, legacy-only server", Revision: modernRevision, Passed: 39, Reference: "direct-modern", Upstream: legacyHTTP, Era: "legacy"},
		{Name: "modern-to-legacy-stdio", About: "modern client, gateway, legacy-only server over stdio", Revision: modernRevision, Passed: 39, Reference: "direct-modern", Upstream: everythingStdio, Era: "legacy"},
		{Name: "legacy-to-modern", About: "legacy client, gateway, modern-only server", Revision: legacyRevision, Passed: 29, Reference: "direct-legacy", Upstream: modernHTTP, Era: "modern"},
		{Name: "legacy-to-fixture", About: "legacy client, gateway, our modern fixture", Revision: legacyRevision, Passed: 33, Reference: "direct-fixture-legacy", Upstream: fixtureHTTP("modern"), Era: "modern"},
		{Name: "legacy-to-fixture-stdio", About: "legacy client, gateway, our modern fixture over stdio", Revision: legacyRevision, Passed: 33, Reference: "direct-fixture-legacy", Upstream: fixtureStdio("modern"), Era: "modern"},
		{Name: "tasks-modern", About: "modern client, gateway, our modern fixture with tasks", Revision: modernRevision, Passed: 50, Reference: "direct-fixture-modern", Upstream: fixtureHTTP("modern"), Era: "auto"},
		{Name: "tasks-modern-stdio", About: "modern client, gateway, our modern fixture over stdio", Revision: modernRevision, Passed: 50, Reference: "direct-fixture-modern", Upstream: fixtureStdio("modern"), Era: "auto"},
		{Name: "tasks-to-legacy", About: "modern client, gateway, our legacy fixture with tasks", Revision: modernRevision, Passed: 48, Reference: "direct-fixture-modern", Upstream: fixtureHTTP("legacy"), Era: "legacy"},
	}
}

func find(name string) row {
	for _, r := range table() {
		if r.Name == name {
			return r
		}
	}
	panic("conformance: no row " + name)
}

func selectRows(match *regexp.Regexp, direct bool) []row {
	var out []row
	for _, r := range table() {
		if match.MatchString(r.Name) && (r.Reference == "" || !direct) {
			out = append(out, r)
		}
	}
	return out
}

func needGateway(rows []row) bool {
	for _, r := range rows {
		if r.Reference != "" {
			return true
		}
	}
	return false
}
