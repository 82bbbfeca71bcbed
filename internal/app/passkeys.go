package app

import (
	"context"

	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/passkey"
	"github.com/munjigi/munjigi/internal/pages"
)

// bucketPasskeys holds the operator's passkeys.
const bucketPasskeys = "passkey"

// addPasskeys lets the operator sign in by passkeys beside the code, where the
// pages have a name that a browser binds them to.
func (a *App) addPasskeys(ctx context.Context, o *pages.Options) error {
	if !passkey.Possible(o.Base) {
		return nil
	}
	kv, err := a.db.Bucket(bucketPasskeys)
	if err != nil {
		return err
	}
	p, err := passkey.New(ctx, passkey.Options{Origin: o.Base, Who: local.Attached("browser"), KV: kv, Ring: a.ring, Once: once{a.nonces}.First})
	if err != nil {
		return err
	}
	o.Passkeys, o.PasskeyList = p, p
	return nil
}
