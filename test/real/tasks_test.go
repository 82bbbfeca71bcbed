//go:build real

package real

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/test/real/kit"
)

// legacyTask is a task as 2025-11-25 shows it.
type legacyTask struct {
	ID     string `json:"taskId"`
	Status string `json:"status"`
}

func decoded[T any](t *testing.T, r *kit.Reply) T {
	t.Helper()
	var v T
	if r.Error != nil {
		t.Fatalf("refused: %s", r.Error)
	}
	if err := json.Unmarshal(r.Result, &v); err != nil {
		t.Fatalf("%v: %s", err, r.Body)
	}
	return v
}

// begin starts a task of 2025-11-25.
func begin(t *testing.T, p *kit.Peer, name, arguments string) legacyTask {
	t.Helper()
	r := tool(t, p, name, arguments, kit.Params{"task": raw(`{"ttl":60000}`)})
	got := decoded[struct {
		Task legacyTask `json:"task"`
	}](t, r).Task
	if got.ID == "" {
		t.Fatalf("no task: %s", r.Body)
	}
	return got
}

func awaitStatus(t *testing.T, p *kit.Peer, id, want string) {
	t.Helper()
	eventually(t, "task "+want, func(ctx context.Context) bool {
		r, err := p.Do(ctx, "tasks/get", kit.Params{"taskId": id})
		if err != nil {
			t.Fatal(err)
		}
		return decoded[legacyTask](t, r).Status == want
	})
}

// TestLegacyTasks has a legacy client use tasks, at a server of either era.
func TestLegacyTasks(t *testing.T) {
	tools := parts(t)
	ways := map[string]func(t *testing.T, p *kit.Peer) *kit.Peer{
		"directly": func(t *testing.T, p *kit.Peer) *kit.Peer {
			return overHTTP(t, fixture(t, "-era", "legacy"), p, nil)
		},
		"through the gateway over HTTP": func(t *testing.T, p *kit.Peer) *kit.Peer {
			g := gateway(t, map[string]kit.Server{"x": {URL: fixture(t, "-era", "legacy")}})
			return overHTTP(t, g.URL("x"), p, nil)
		},
		"through the gateway to stdio": func(t *testing.T, p *kit.Peer) *kit.Peer {
			g := gateway(t, map[string]kit.Server{"x": {Command: []string{tools.Fixture, "-era", "legacy"}}})
			return overHTTP(t, g.URL("x"), p, nil)
		},
		"through wrap": func(t *testing.T, p *kit.Peer) *kit.Peer {
			return overStdio(t, wrap(t, tools.Fixture, "-era", "legacy"), p)
		},
		"through the gateway to a modern server": func(t *testing.T, p *kit.Peer) *kit.Peer {
			g := gateway(t, map[string]kit.Server{"x": {URL: fixture(t, "-era", "modern")}})
			return overHTTP(t, g.URL("x"), p, nil)
		},
	}
	for name, dial := range ways {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var questions []string
			p := dial(t, &kit.Peer{Capabilities: kit.Everything, Answer: func(method string, params json.RawMessage) string {
				mu.Lock()
				questions = append(questions, method+" "+string(params))
				mu.Unlock()
				return `{"action":"accept","content":{"confirm":true}}`
			}})

			k := begin(t, p, "confirm_delete", `{"filename":"a.txt"}`)
			awaitStatus(t, p, k.ID, "input_required")
			end := do(t, p, "tasks/result", kit.Params{"taskId": k.ID})
			if end.Text() != "deleted a.txt" {
				t.Errorf("result %s", end.Body)
			}
			if !strings.Contains(string(end.Result), `"io.modelcontextprotocol/related-task"`) {
				t.Errorf("the result names no task: %s", end.Result)
			}
			mu.Lock()
			if len(questions) != 1 || !strings.Contains(questions[0], k.ID) {
				t.Errorf("asked %v, want one question of task %s", questions, k.ID)
			}
			mu.Unlock()

			if strings.HasSuffix(name, "modern server") {
				// The modern era has no list of tasks, and none is offered.
				if r := do(t, p, "tasks/list", nil); r.Code() != -32601 {
					t.Errorf("a list of tasks: %s", r.Body)
				}
			} else {
				list := decoded[struct {
					Tasks []legacyTask `json:"tasks"`
				}](t, do(t, p, "tasks/list", nil)).Tasks
				if !slices.ContainsFunc(list, func(x legacyTask) bool { return x.ID == k.ID && x.Status == "completed" }) {
					t.Errorf("the list lacks the task: %v", list)
				}
			}

			long := begin(t, p, "slow_compute", `{"seconds":60}`)
			if got := decoded[legacyTask](t, do(t, p, "tasks/cancel", kit.Params{"taskId": long.ID})); got.Status != "cancelled" {
				t.Errorf("cancelled: %+v", got)
			}
			refused(t, do(t, p, "tasks/cancel", kit.Params{"taskId": long.ID}))
			refused(t, do(t, p, "tasks/get", kit.Params{"taskId": "0123456789abcdef"}))

			broken := begin(t, p, "protocol_error_job", `{}`)
			if r := do(t, p, "tasks/result", kit.Params{"taskId": broken.ID}); r.Code() != -32603 {
				t.Errorf("a broken task's result: %s", r.Body)
			}
		})
	}
}

// TestTaskIDs has a client guess at task IDs.
func TestTaskIDs(t *testing.T) {
	g := gateway(t, map[string]kit.Server{"x": {URL: fixture(t, "-era", "legacy")}})
	mine := overHTTP(t, g.URL("x"), &kit.Peer{Capabilities: kit.Everything}, nil)
	k := begin(t, mine, "slow_compute", `{"seconds":60}`)
	refused(t, do(t, mine, "tasks/get", kit.Params{"taskId": altered(k.ID, len(k.ID)/2)}))
	if got := decoded[legacyTask](t, do(t, mine, "tasks/get", kit.Params{"taskId": k.ID})); got.Status != "working" {
		t.Errorf("my own: %+v", got)
	}
}

// TestTaskNotifications listens for a task's changes, which the suite does not
// look at.
func TestTaskNotifications(t *testing.T) {
	tools := parts(t)
	for name, dial := range map[string]func(t *testing.T, p *kit.Peer) *kit.Peer{
		"directly": func(t *testing.T, p *kit.Peer) *kit.Peer {
			return overHTTP(t, fixture(t, "-era", "modern"), p, nil)
		},
		"through the gateway": func(t *testing.T, p *kit.Peer) *kit.Peer {
			return overHTTP(t, gateway(t, map[string]kit.Server{"x": {URL: fixture(t, "-era", "modern")}}).URL("x"), p, nil)
		},
		"through the gateway to stdio": func(t *testing.T, p *kit.Peer) *kit.Peer {
			return overHTTP(t, gateway(t, map[string]kit.Server{"x": {Command: []string{tools.Fixture, "-era", "modern"}}}).URL("x"), p, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			notes := make(chan string, 64)
			p := dial(t, &kit.Peer{Modern: true, Capabilities: kit.WithTasks, OnNote: func(method string, params json.RawMessage) {
				notes <- method + " " + string(params)
			}})
			id := decoded[legacyTask](t, tool(t, p, "slow_compute", `{"seconds":1}`, nil)).ID
			if id == "" {
				t.Fatal("no task")
			}
			ctx, stop := context.WithCancel(hurry(t))
			defer stop()
			ended := make(chan error, 1)
			go func() {
				_, err := p.Do(ctx, "subscriptions/listen", kit.Params{"notifications": map[string]any{"taskIds": []string{id}}})
				ended <- err
			}()
			var seen []string
			for len(seen) < 2 {
				select {
				case n := <-notes:
					seen = append(seen, n)
				case err := <-ended:
					t.Fatalf("the stream ended after %v: %v", seen, err)
				}
			}
			if !strings.HasPrefix(seen[0], "notifications/subscriptions/acknowledged ") || !strings.Contains(seen[0], id) {
				t.Errorf("first %s", seen[0])
			}
			if !strings.HasPrefix(seen[1], "notifications/tasks ") || !strings.Contains(seen[1], id) || !strings.Contains(seen[1], `"completed"`) {
				t.Errorf("then %s", seen[1])
			}
			stop()
			if err := <-ended; err == nil {
				t.Error("the stream ended by itself")
			}
		})
	}
}
