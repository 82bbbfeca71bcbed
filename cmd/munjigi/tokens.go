package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/munjigi/munjigi/internal/app"
)

// cmdTokens lists, makes and revokes the tokens of clients.
func cmdTokens(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "tokens", "munjigi tokens list | new NAME | revoke NAME | revoke --subject SUB", "The tokens that clients carry: one a client, each expires and can be revoked. With identity providers, revoke takes back their tokens too: all of a subject up to now, those of one session of the provider, or one by its ID.")
	k := asking{e, fs.String("c", "", "config file"), fs.String("data", "", "data folder"), fs.Bool("json", false, "print JSON")}
	var out app.Revocation
	fs.StringVar(&out.Issuer, "issuer", "", "revoke: the identity provider, exactly as in the config; may be left out where there is one")
	fs.StringVar(&out.Subject, "subject", "", "revoke: all tokens of this subject that were made until now")
	fs.StringVar(&out.Session, "session", "", "revoke: all tokens of this session of the provider (sid)")
	fs.StringVar(&out.ID, "id", "", "revoke: the token of this ID (jti; uti at Entra)")
	if code, done := parse(e, fs, args); done {
		return code
	}
	switch {
	case fs.Arg(0) == "list" && fs.NArg() == 1:
		var rows []app.TokenInfo
		if err := k.call(ctx, app.OpTokensList, nil, &rows); err != nil {
			return failed(e, err)
		}
		if *k.asJSON {
			return printJSON(e, rows)
		}
		t := newTable("client", "number", "expires", "state")
		for _, r := range rows {
			state := "valid"
			if r.Revoked {
				state = "revoked"
			} else if time.Now().After(r.Expires) {
				state = "expired"
			}
			t.row(r.Client, fmt.Sprint(r.Serial), r.Expires.Local().Format("2006-01-02"), state)
		}
		t.print(e.stdout)
	case fs.Arg(0) == "new" && fs.NArg() == 2:
		var a app.TokenAnswer
		if err := k.call(ctx, app.OpTokensNew, app.NameArg{Name: fs.Arg(1)}, &a); err != nil {
			return failed(e, err)
		}
		if *k.asJSON {
			return printJSON(e, a)
		}
		fmt.Fprintln(e.stdout, a.Token)
		fmt.Fprintf(e.stderr, "valid until %s; take it back with: munjigi tokens revoke %s\n", a.Expires, fs.Arg(1))
	case fs.Arg(0) == "revoke" && fs.NArg() == 1 && out != (app.Revocation{}):
		var a app.EndedAnswer
		if err := k.call(ctx, app.OpTokensTakeBack, out, &a); err != nil {
			return failed(e, err)
		}
		fmt.Fprintf(e.stdout, "revoked; %d sessions ended\n", a.Ended)
	case fs.Arg(0) == "revoke" && fs.NArg() == 2 && out == (app.Revocation{}):
		if err := k.call(ctx, app.OpTokensRevoke, app.NameArg{Name: fs.Arg(1)}, nil); err != nil {
			return failed(e, err)
		}
		fmt.Fprintf(e.stdout, "the tokens of %s are revoked\n", fs.Arg(1))
	default:
		return wrongUse(e, errors.New("say: munjigi tokens list, munjigi tokens new NAME, munjigi tokens revoke NAME, or munjigi tokens revoke --subject SUB, --session SID or --id JTI"))
	}
	return exitDone
}
