package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/authz/cedar"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
)

// texts is a flag that may be given several times.
type texts []string

// String implements flag.Value.
func (t *texts) String() string { return strings.Join(*t, ",") }

// Set implements flag.Value.
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

// cmdPolicy looks at policies without a running gateway.
func cmdPolicy(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "policy", "munjigi policy check | test FILE | explain METHOD SERVER[/NAME] [ARGUMENTS] | init | catalogue | schema | compare", "Judge the policies of a config: check shows every mistake; test plays a table of wanted decisions; explain says how one call would be decided, by which lines, and what would change it. init writes a first policy from what the servers have, catalogue saves what they have, schema prints the Cedar schema of requests, and compare shows where policy_candidate would have decided otherwise on what the gateway served.")
	path := fs.String("c", "munjigi.yaml", "config file")
	asJSON := fs.Bool("json", false, "print JSON")
	var who cedar.Person
	fs.StringVar(&who.Kind, "kind", "user", "explain: user, workload, operator or anonymous")
	saved := fs.String("catalogue", "", "check, init: what the servers have, from a file that munjigi policy catalogue wrote, instead of asking the running gateway")
	since := fs.Duration("since", 0, "compare: only what is not older; 0 is all that the record has")
	var start cedar.Start
	fs.StringVar(&start.Approvers, "approvers", "approvers", "init: the list of those who approve what does more than read")
	fs.StringVar(&who.Issuer, "issuer", "", "explain, init: the identity provider; may be left out where the config has one")
	fs.StringVar(&who.Subject, "subject", "somebody", "explain: the subject")
	fs.StringVar(&who.Client, "client", "", "explain: the OAuth client")
	fs.StringVar(&who.ACR, "acr", "", "explain: how strongly the person signed in")
	fs.Var((*texts)(&who.Groups), "group", "explain, init: a group; explain takes several")
	fs.Var((*texts)(&who.Roles), "role", "explain: a role; may be given several times")
	fs.Var((*texts)(&who.Scopes), "scope", "explain: a scope; may be given several times")
	if code, done := parse(e, fs, args); done {
		return code
	}
	cfg, err := app.Build(e.getenv).Load(*path)
	if err != nil {
		return checkFailed(e, *path, err, *asJSON)
	}
	switch {
	case fs.Arg(0) == "schema" && fs.NArg() == 1:
		return policySchema(e)
	case fs.Arg(0) == "catalogue" && fs.NArg() == 1:
		return policyCatalogue(ctx, e, cfg)
	case fs.Arg(0) == "init" && fs.NArg() == 1:
		return policyInit(ctx, e, cfg, *saved, who, start)
	}
	if fs.Arg(0) == "compare" && fs.NArg() == 1 {
		return policyCompare(e, cfg, *path, *since, *asJSON)
	}
	d, p, err := app.Policies(cfg)
	if err != nil {
		return policyFailed(e, *path, err, *asJSON)
	}
	switch {
	case fs.Arg(0) == "check" && fs.NArg() == 1:
		return policyCheck(ctx, e, cfg, p, *saved, *asJSON)
	case fs.Arg(0) == "test" && fs.NArg() == 2:
		return policyTest(ctx, e, d, fs.Arg(1), *asJSON)
	case fs.Arg(0) == "explain" && (fs.NArg() == 3 || fs.NArg() == 4):
		if who.Issuer == "" {
			if len(cfg.Identity.Issuers) != 1 {
				return wrongUse(e, errors.New("say whose subject it is with -issuer: the config does not have just one"))
			}
			who.Issuer = cfg.Identity.Issuers[0].URL
		}
		return policyExplain(ctx, e, d, who, fs.Args()[1:], *asJSON)
	}
	return wrongUse(e, errors.New("say: munjigi policy check, test FILE, explain METHOD SERVER[/NAME] [ARGUMENTS], init, catalogue, schema or compare"))
}

func policyFailed(e *env, path string, err error, asJSON bool) int {
	var list *cedar.Errors
	if !errors.As(err, &list) {
		return failed(e, err)
	}
	return checkFailed(e, path, &config.Errors{List: list.List}, asJSON)
}

// policyTest plays a table of wanted decisions.
func policyTest(ctx context.Context, e *env, d *cedar.Decider, file string, asJSON bool) int {
	b, err := os.ReadFile(file) // #nosec G304 -- the operator names the file
	if err != nil {
		return failed(e, err)
	}
	table, err := cedar.ReadTable(b)
	if err != nil {
		return refused(e, fmt.Errorf("%s: %w", config.Visible(file), err))
	}
	rows := d.Play(ctx, table)
	wrong := 0
	for _, r := range rows {
		if !r.OK {
			wrong++
		}
	}
	code := exitDone
	if wrong > 0 {
		code = exitRefused
	}
	if asJSON {
		if c := printJSON(e, rows); c != exitDone {
			return c
		}
		return code
	}
	for _, r := range rows {
		if r.OK {
			continue
		}
		fmt.Fprintf(e.stdout, "%s:%d: %s %s %s: wanted %s\n", config.Visible(file), r.Line, config.Visible(r.Who), config.Visible(r.Method), config.Visible(r.Target), r.Want)
		showExplanation(e, r.Got)
		fmt.Fprintln(e.stdout)
	}
	fmt.Fprintf(e.stdout, "%s as wanted, %d not\n", plural(len(rows)-wrong, "decision"), wrong)
	return code
}

// policyExplain explains one call. Exit status 1 says that it is denied.
func policyExplain(ctx context.Context, e *env, d *cedar.Decider, who cedar.Person, args []string, asJSON bool) int {
	q := authz.Query{Principal: who.Principal(), Target: call.Target{Method: args[0]}}
	q.Target.Server, q.Target.Name, _ = strings.Cut(args[1], "/")
	if !q.Principal.Valid() {
		return wrongUse(e, errors.New("-kind is user, workload, operator or anonymous, and -subject is not empty"))
	}
	if len(args) == 3 {
		q.Arguments = []byte(args[2])
		if err := strictjson.Validate(q.Arguments, strictjson.Default()); err != nil || strictjson.TypeOf(q.Arguments) != strictjson.TypeObject {
			return wrongUse(e, errors.New("the arguments have to be a JSON object, in quotes for the shell"))
		}
	}
	x := d.Explain(ctx, q)
	code := exitDone
	if !x.Allowed {
		code = exitRefused
	}
	if asJSON {
		if c := printJSON(e, x); c != exitDone {
			return c
		}
		return code
	}
	showExplanation(e, x)
	return code
}

func showExplanation(e *env, x cedar.Explanation) {
	w := e.stdout
	fmt.Fprintf(w, "  %s\n", config.Visible(x.Sentence))
	show := func(title string, lines []cedar.Line) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(w, "\n  %s\n", title)
		for _, l := range lines {
			name := l.Effect
			if l.Name != "" {
				name += " " + l.Name
			}
			if l.File != "" {
				name += fmt.Sprintf("  %s:%d", l.File, l.Line)
			}
			fmt.Fprintf(w, "    %s\n", config.Visible(name))
			for _, y := range l.Why {
				fmt.Fprintf(w, "        %s\n", config.Visible(y))
			}
		}
	}
	show("Decided by", x.Decided)
	show("What would change it", x.Near)
	if x.Results != "" {
		fmt.Fprintf(w, "\n  What may come back: %s\n", config.Visible(x.Results))
	}
	for _, a := range x.Also {
		fmt.Fprintf(w, "\n  %s\n", config.Visible(a))
	}
	if !x.Listed && !x.Allowed {
		fmt.Fprintln(w, "\n  It is not listed either: to this principal it looks like something that is not there.")
	} else if !x.Allowed {
		fmt.Fprintln(w, "\n  It is listed, because with other arguments, or another way of signing in, it could be permitted.")
	}
}
