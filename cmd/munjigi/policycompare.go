package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/config"
)

// difference is where a candidate would have decided otherwise, and how often.
type difference struct {
	Server    string    `json:"server"`
	Method    string    `json:"method"`
	Target    string    `json:"target,omitempty"`
	Principal string    `json:"principal"`
	Now       string    `json:"now"`
	Would     string    `json:"would"`
	By        string    `json:"by,omitempty"` // the candidate's policy, or its reason
	Calls     int       `json:"calls"`
	Last      time.Time `json:"last"`
	ID        string    `json:"id"` // of the last one, for munjigi why
}

// maxDifferences bounds the rows that are kept; what comes after is counted.
const maxDifferences = 10_000

// policyCompare reads from the record what the candidate of a config would have
// decided otherwise. Exit status 1 says that there is something.
func policyCompare(e *env, cfg *config.Config, path string, since time.Duration, asJSON bool) int {
	_, p, err := app.Candidate(cfg)
	if err != nil {
		return policyFailed(e, path, err, asJSON)
	}
	if p == nil {
		return wrongUse(e, errors.New("the config has no policy_candidate: name the files to compare with there, and reload the gateway"))
	}
	from := time.Time{}
	if since > 0 {
		from = time.Now().Add(-since)
	}
	digest := p.Digest()[:12]
	rows, more := map[string]*difference{}, 0
	err = log.Read(filepath.Join(cfg.Data, "audit"), log.NewestFirst, func(ev audit.Event) bool {
		if ev.Time.Before(from) {
			return false
		}
		for _, s := range ev.Trail {
			for _, f := range s.Findings {
				by, ours := strings.CutPrefix(f.Path, digest+" ")
				if f.Guard != app.CandidateGuard || !ours {
					continue
				}
				d := difference{Server: ev.Server, Method: ev.Method, Target: ev.Target, Principal: ev.Principal, Now: s.Effect,
					Would: strings.TrimPrefix(f.Reason, "would-"), By: by, Last: ev.Time, ID: ev.ID}
				key := strings.Join([]string{d.Server, d.Method, d.Target, d.Principal, d.Now, d.Would, d.By}, "\x00")
				switch {
				case rows[key] != nil:
					rows[key].Calls++
				case len(rows) < maxDifferences:
					d.Calls = 1
					rows[key] = &d
				default:
					more++
				}
			}
		}
		return true
	})
	if err != nil {
		return failed(e, err)
	}
	list := make([]*difference, 0, len(rows))
	for _, d := range rows {
		list = append(list, d)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Calls != list[j].Calls {
			return list[i].Calls > list[j].Calls
		}
		return list[i].ID < list[j].ID
	})
	code := exitDone
	if len(list) > 0 {
		code = exitRefused
	}
	if asJSON {
		if c := printJSON(e, map[string]any{"candidate": p.Digest(), "differences": list, "omitted": more}); c != exitDone {
			return c
		}
		return code
	}
	if len(list) == 0 {
		fmt.Fprintf(e.stdout, "The candidate, digest %s, decided nothing otherwise that is on the record. Calls that nobody made are not compared.\n", digest)
		return code
	}
	t := newTable("calls", "server", "method", "target", "principal", "now", "would", "by", "last")
	for _, d := range list {
		t.row(fmt.Sprint(d.Calls), d.Server, d.Method, d.Target, d.Principal, d.Now, d.Would, d.By, d.ID)
	}
	t.print(e.stdout)
	if more > 0 {
		fmt.Fprintf(e.stdout, "and %s more: name a shorter time with -since\n", plural(more, "call"))
	}
	fmt.Fprintln(e.stdout, "\nmunjigi why ID shows the last call of a row.")
	return code
}
