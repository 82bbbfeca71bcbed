package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/test/fixture/server"
)

// each runs f for both eras of the client, both of the server, and both paths.
func eachGranting(t *testing.T, f func(t *testing.T, g *granting, c caller)) {
	for _, up := range []server.Era{server.Modern, server.Legacy} {
		for _, legacy := range []bool{false, true} {
			for _, path := range []string{"/mcp/s", "/mcp"} {
				t.Run(fmt.Sprintf("%s server, legacy client %t, %s", up, legacy, path), func(t *testing.T) {
					t.Parallel()
					f(t, startGranting(t, up, nil), caller{legacy: legacy, path: path})
				})
			}
		}
	}
}

// judgeLink checks what a client is to show.
func judgeLink(t *testing.T, mode, url, message string) {
	t.Helper()
	if mode != "url" || !strings.HasPrefix(url, "https://gw.example/grants/open?id=") || !strings.HasPrefix(message, "[s] ") || !strings.Contains(message, "gw.example") {
		t.Errorf("the client is to show %q %q %q", mode, url, message)
	}
}

// Before its person gave a permission a server shows one tool; afterwards
// everything, and whoever listens is told.
func TestConnectTool(t *testing.T) {
	t.Parallel()
	eachGranting(t, func(t *testing.T, g *granting, c caller) {
		c.show = true
		me := g.as(c)
		for _, list := range []string{"tools/list", "prompts/list", "resources/list", "resources/templates/list"} {
			s, _ := g.ask(me, list, "", "")
			if s.status != 200 || s.Error.Code != 0 {
				t.Errorf("%s: %d %s", list, s.status, s.body)
			}
			if list == "tools/list" && (!slices.Contains(s.names(), me.in("connect")) || me.path == "/mcp/s" && len(s.Result.Tools) != 1) {
				t.Errorf("the tools are %v", s.names())
			}
			if list == "tools/list" && me.path == "/mcp" && !slices.Contains(s.names(), "free__test_simple_text") {
				t.Errorf("another server's tools are gone: %v", s.names())
			}
			if me.path == "/mcp/s" && list != "tools/list" && (len(s.Result.Prompts) > 0 || len(s.Result.Resources) > 0) {
				t.Errorf("%s: %s", list, s.body)
			}
		}
		heard := g.changes(me)
		s, _ := g.ask(me, "tools/call", me.in("connect"), `"arguments":{}`)
		if me.legacy {
			if s.Error.Code != -32042 || s.Error.Data.ID == "" || len(s.Error.Data.Elicitations) != 1 {
				t.Fatal(s.body)
			}
			e := s.Error.Data.Elicitations[0]
			judgeLink(t, e.Mode, e.URL, e.Message)
			id := e.ElicitationID
			g.src.settle(me.token, true)
			heard.hearsAll("notifications/tools/list_changed", `notifications/elicitation/complete","params":{"elicitationId":"`+id+`"`)
		} else {
			if s.status != 200 || s.Result.ResultType != "input_required" || s.Result.RequestState == "" || s.Result.Meta[gateway.MetaID] == nil {
				t.Fatal(s.body)
			}
			q := s.Result.InputRequests["grant"]
			judgeLink(t, q.Params.Mode, q.Params.URL, q.Params.Message)
			var wg sync.WaitGroup
			wg.Go(func() { g.src.settle(me.token, true) }) // while the retry waits, or before
			if r := g.retry(me, "tools/call", me.in("connect"), s, "accept"); r.Result.IsError || len(r.Result.Content) != 1 || !strings.Contains(r.Result.Content[0].Text, "List its tools again") {
				t.Errorf("after the permission: %s", r.body)
			}
			wg.Wait()
			heard.hearsAll("notifications/tools/list_changed", "notifications/prompts/list_changed")
		}
		s, _ = g.ask(me, "tools/list", "", "")
		if slices.Contains(s.names(), me.in("connect")) || !slices.Contains(s.names(), me.in("test_simple_text")) {
			t.Errorf("the tools are %v", s.names())
		}
		if s, _ := g.ask(me, "tools/call", me.in("test_simple_text"), `"arguments":{}`); s.Error.Code != 0 || s.Result.IsError {
			t.Errorf("a call with the permission: %s", s.body)
		}
		if s, _ := g.ask(me, "prompts/list", "", ""); len(s.Result.Prompts) == 0 {
			t.Errorf("no prompts: %s", s.body)
		}
		for _, bearer := range g.calls {
			if bearer != "Bearer of kim by app" {
				t.Errorf("the server was asked as %q", bearer)
			}
		}
	})
}

// Every operation that lacks the permission asks for it in the best way that
// the client has.
func TestOperationsAskForPermission(t *testing.T) {
	t.Parallel()
	eachGranting(t, func(t *testing.T, g *granting, c caller) {
		shows, blind := c, c
		shows.show = true
		for _, c := range []*caller{g.as(shows), g.as(blind)} {
			for _, op := range []struct{ method, name, params string }{
				{"tools/call", c.in("test_simple_text"), `"arguments":{}`},
				{"prompts/get", c.in("test_simple_prompt"), ""},
				{"resources/read", c.in("test://static-text"), ""},
				{"completion/complete", "", `"ref":{"type":"ref/prompt","name":"` + c.in("test_prompt_with_arguments") + `"},"argument":{"name":"arg1","value":"a"}`},
			} {
				s, _ := g.ask(c, op.method, op.name, op.params)
				switch {
				case c.show && c.legacy:
					if s.Error.Code != -32042 || len(s.Error.Data.Elicitations) != 1 || s.Error.Data.ID == "" {
						t.Errorf("%s: %s", op.method, s.body)
					}
				case c.show && op.method != "completion/complete":
					if s.Result.ResultType != "input_required" || s.Result.InputRequests["grant"].Method != "elicitation/create" {
						t.Errorf("%s: %s", op.method, s.body)
					}
				case op.method == "tools/call":
					if s.status != 200 || !s.Result.IsError || !strings.Contains(s.body, "https://gw.example/grants/open?id=") || s.Result.Meta[gateway.MetaID] == nil {
						t.Errorf("%s without URLs: %s", op.method, s.body)
					}
				default:
					if s.Error.Code != -32603 || s.Error.Data.URL == "" || s.Error.Data.ID == "" || !strings.Contains(s.Error.Message, s.Error.Data.URL) {
						t.Errorf("%s without URLs: %s", op.method, s.body)
					}
				}
				if s.Error.Data.ID != "" {
					if es := g.tape.of(s.Error.Data.ID); len(es) == 0 || es[len(es)-1].Reason != "grant-needed" || es[len(es)-1].Effect != "challenge" {
						t.Errorf("%s: the record says %+v", op.method, es)
					}
				}
			}
		}
		if len(g.calls) != 0 {
			t.Errorf("the server let in %v", g.calls)
		}
	})
}

// A 2025-06-18 client has no URL elicitation, whatever it declares.
func TestOldClientsGetWords(t *testing.T) {
	t.Parallel()
	g := startGranting(t, server.Modern, nil)
	c := g.as(caller{legacy: true, show: true, version: "2025-06-18"})
	if s, _ := g.ask(c, "tools/call", "connect", `"arguments":{}`); s.Error.Code != 0 || !s.Result.IsError {
		t.Error(s.body)
	}
}

// What a client brings back proves nothing, is good for one call of one client,
// once, and ends.
func TestPermissionIsNotForged(t *testing.T) {
	t.Parallel()
	g := startGranting(t, server.Modern, nil)
	kim, other, lee := g.as(caller{show: true}), g.as(caller{show: true, token: "kim/other"}), g.as(caller{show: true, token: "lee/app"})
	call := func(c *caller, args string) *said {
		s, _ := g.ask(c, "tools/call", "test_simple_text", args)
		return s
	}
	asked := call(kim, `"arguments":{"a":1}`)
	if asked.Result.RequestState == "" {
		t.Fatal(asked.body)
	}
	back := func(c *caller, method, name, args, action string) *said {
		s, _ := g.ask(c, method, name, fmt.Sprintf(`"requestState":%q,"inputResponses":{"grant":{"action":%q}},%s`, asked.Result.RequestState, action, args))
		return s
	}
	for who, s := range map[string]*said{
		"another principal":          back(lee, "tools/call", "test_simple_text", `"arguments":{"a":1}`, "accept"),
		"another client of the same": back(other, "tools/call", "test_simple_text", `"arguments":{"a":1}`, "accept"),
		"other arguments":            back(kim, "tools/call", "test_simple_text", `"arguments":{"a":2}`, "accept"),
		"another tool":               back(kim, "tools/call", "test_error_handling", `"arguments":{"a":1}`, "accept"),
		"no state of ours":           g.retry(kim, "tools/call", "test_simple_text", &said{}, "accept"),
	} {
		// Without the permission nothing is known of the definition either: they
		// are asked like anybody.
		if s.Result.ResultType == "complete" && !s.Result.IsError || len(g.calls) != 0 {
			t.Errorf("%s got in: %s", who, s.body)
		}
	}
	// An accept without a permission: the link was refused, so another one comes.
	g.src.settle(kim.token, false)
	s := back(kim, "tools/call", "test_simple_text", `"arguments":{"a":1}`, "accept")
	if s.Result.ResultType != "input_required" || s.Result.RequestState == asked.Result.RequestState {
		t.Errorf("a forged accept: %s", s.body)
	}
	if r := back(kim, "tools/call", "test_simple_text", `"arguments":{"a":1}`, "accept"); r.Error.Code != -32602 {
		t.Errorf("a state that was used: %s", r.body)
	}
	// It is asked a bounded number of times.
	rounds := 1
	for ; s.Result.RequestState != "" && rounds < 50; rounds++ {
		g.src.settle(kim.token, false)
		asked = s
		s = back(kim, "tools/call", "test_simple_text", `"arguments":{"a":1}`, "accept")
	}
	if rounds > 10 || !s.Result.IsError || !strings.Contains(s.body, "gw.example") {
		t.Errorf("after %d rounds: %s", rounds, s.body)
	}
	// Who declines is not asked again by this call.
	asked = call(kim, `"arguments":{"a":1}`)
	if s := back(kim, "tools/call", "test_simple_text", `"arguments":{"a":1}`, "decline"); !s.Result.IsError || !strings.Contains(s.body, "declined") {
		t.Errorf("declined: %s", s.body)
	}
	// One client's permission is no other's.
	asked = call(kim, `"arguments":{"a":1}`)
	g.src.settle(kim.token, true)
	if s := back(kim, "tools/call", "test_simple_text", `"arguments":{"a":1}`, "accept"); s.Result.ResultType != "complete" || s.Result.IsError {
		t.Errorf("with the permission: %s", s.body)
	}
	for _, c := range []*caller{other, lee} {
		if s := call(c, `"arguments":{}`); s.Result.ResultType != "input_required" {
			t.Errorf("%s rides on kim's permission: %s", c.token, s.body)
		}
	}
	for _, bearer := range g.calls {
		if bearer != "Bearer of kim by app" {
			t.Errorf("the server was asked as %q", bearer)
		}
	}
}

// Who may not call gets no link; the tool that gives it needs what a list needs.
func TestLinkOnlyForWhatIsPermitted(t *testing.T) {
	t.Parallel()
	g := startGranting(t, server.Modern, func(o *gateway.Options) {
		o.Authz = authz.Owner{On: true, Asks: anything, Refused: map[string]string{"s/test_simple_text": "no", "s/connect": "a policy that names tools does not know ours"}}
	})
	c := g.as(caller{show: true})
	s, _ := g.ask(c, "tools/call", "test_simple_text", `"arguments":{}`)
	if s.Result.ResultType == "input_required" || strings.Contains(s.body, "gw.example") {
		t.Errorf("a call that is not permitted got a link: %s", s.body)
	}
	if s, _ := g.ask(c, "tools/call", "connect", `"arguments":{}`); s.Result.ResultType != "input_required" {
		t.Errorf("connect: %s", s.body)
	}
}

// One client can have so many links open and no more; others are asked all the
// same.
func TestLinksAreCapped(t *testing.T) {
	t.Parallel()
	g := startGranting(t, server.Modern, nil)
	kim, lee := g.as(caller{show: true}), g.as(caller{show: true, token: "lee/app"})
	g.src.mu.Lock()
	g.src.fresh = true
	g.src.mu.Unlock()
	n := 0
	for ; n < 100; n++ {
		s, _ := g.ask(kim, "tools/call", "connect", `"arguments":{}`)
		if s.Result.ResultType != "input_required" {
			if !s.Result.IsError || strings.Contains(s.body, "gw.example") {
				t.Errorf("one too many: %s", s.body)
			}
			break
		}
	}
	if n == 0 || n > 16 {
		t.Errorf("%d links are open", n)
	}
	if s, _ := g.ask(lee, "tools/call", "connect", `"arguments":{}`); s.Result.ResultType != "input_required" {
		t.Errorf("another principal is not asked: %s", s.body)
	}
}

// Only the session that was asked is told that its elicitation ended; all of the
// same client are told that lists changed; others hear nothing.
func TestOnlyTheAskedIsTold(t *testing.T) {
	t.Parallel()
	g := startGranting(t, server.Legacy, nil)
	asked, same := g.as(caller{legacy: true, show: true}), g.as(caller{legacy: true, show: true})
	lee := g.as(caller{legacy: true, show: true, token: "lee/app"})
	a, b, c := g.changes(asked), g.changes(same), g.changes(lee)
	s, _ := g.ask(asked, "tools/call", "connect", `"arguments":{}`)
	if s.Error.Code != -32042 {
		t.Fatal(s.body)
	}
	id := s.Error.Data.Elicitations[0].ElicitationID
	g.src.settle(asked.token, true)
	if line := a.hears("elicitation/complete"); !strings.Contains(line, id) {
		t.Error(line)
	}
	b.hears("tools/list_changed")
	for who, s := range map[string]*stream{"another session of the client": b, "another principal": c} {
		if got := s.rest(); strings.Contains(got, "complete") || s == c && strings.Contains(got, "changed") {
			t.Errorf("%s heard %s", who, got)
		}
	}
}
