package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/munjigi/munjigi/test/real/kit"
)

// play makes the calls of a scenario.
func (g *gateway) play(ctx context.Context, s scene) error {
	token, _, err := g.ClientToken(ctx, "suite")
	if err != nil {
		return err
	}
	p := kit.DialHTTP(g.base+"/mcp/x", &kit.Peer{Modern: s.modern, Capabilities: kit.Everything}, http.Header{"Authorization": {"Bearer " + token}})
	b, err := newBrowser(g)
	if err != nil {
		return err
	}
	if err := g.begin(ctx, s, b, p); err != nil {
		return err
	}
	steps := []func() (*kit.Reply, error){
		func() (*kit.Reply, error) {
			r, err := p.Do(ctx, "tools/list", nil)
			if err == nil && bytes.Contains(r.Result, []byte(`"name":"connect"`)) {
				return p.Call(ctx, "connect", "{}", nil) // the list lacks the person's permission
			}
			return r, err
		},
		func() (*kit.Reply, error) { return p.Call(ctx, "test-tool", "{}", nil) },
	}
	if s.name == "auth/authorization-server-migration" {
		steps = append(steps, steps[0], steps[1])
	}
	for _, step := range steps {
		if err := g.persist(ctx, s, b, step); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	return p.Close()
}

// begin is what a legacy client does first.
func (g *gateway) begin(ctx context.Context, s scene, b *browser, p *kit.Peer) error {
	if s.modern {
		return nil
	}
	err := g.persist(ctx, s, b, func() (*kit.Reply, error) {
		return p.Do(ctx, "initialize", kit.Params{"protocolVersion": kit.LegacyVersion, "capabilities": json.RawMessage(kit.Everything),
			"clientInfo": map[string]string{"name": "person", "version": "1.0.0"}})
	})
	if err != nil {
		return err
	}
	return p.Notify(ctx, "notifications/initialized", nil)
}

// maxLinks is how often one step may send a person to a browser.
const maxLinks = 4

var (
	aLink = regexp.MustCompile(`/grants/open\?id=[A-Za-z0-9_-]+`)
)

// persist does one step until it gets through, opening the links that come
// back. What the person has to be asked for anew comes with each try.
func (g *gateway) persist(ctx context.Context, s scene, b *browser, step func() (*kit.Reply, error)) error {
	approved := false
	for range maxLinks {
		r, err := step()
		if err != nil {
			return err
		}
		link := aLink.Find(r.Body)
		switch {
		case link != nil:
			if err := b.grant(ctx, g.base+string(link)); err != nil {
				return err
			}
		case r.Error == nil && !strings.Contains(string(r.Result), `"isError":true`):
			return nil
		case s.name == "auth/authorization-server-migration" && !approved:
			// The gateway holds a server that names another authorization server; its
			// operator looks, and accepts it.
			if err := g.ApproveServer(ctx, "x"); err != nil {
				return err
			}
			approved = true
		default:
			return fmt.Errorf("refused: %s", r.Body)
		}
	}
	return errors.New("the person was asked too often")
}
