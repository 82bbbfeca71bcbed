package signin

import (
	"crypto/rand"
	"crypto/subtle"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/call"
)

// Bounds of a code.
const (
	CodeLife    = 5 * time.Minute
	CodeGuesses = 5
	codeLetters = 8
	maxCodes    = 16
	// alphabet has 32 letters, none of which looks like another.
	alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
)

// Pairing signs the lone operator in by a code that the gateway's own terminal
// shows. The zero value refuses.
type Pairing struct {
	who  call.Principal
	show func(code string)
	asks *limit.Keyed

	mu    sync.Mutex
	codes map[string]*code // by digest of the browser
}

type code struct {
	text string
	left int
	ends time.Time
}

// NewPairing signs browsers in as who. show puts a code where only those see
// it who may be who; it must not block for long.
func NewPairing(who call.Principal, show func(code string)) *Pairing {
	return &Pairing{who: who, show: show, asks: limit.NewKeyed(0.1, 5, 1), codes: map[string]*code{}}
}

// Show puts a new code for this browser on the terminal; the one before is
// void. The error is authn.ErrTooMany.
func (p *Pairing) Show(browser string) error {
	if p == nil || p.show == nil || browser == "" {
		return authn.ErrTooMany
	}
	if ok, _ := p.asks.Allow("all"); !ok {
		return authn.ErrTooMany
	}
	var raw [codeLetters]byte
	_, _ = rand.Read(raw[:])
	for i := range raw {
		raw[i] = alphabet[raw[i]%byte(len(alphabet))]
	}
	now := time.Now()
	p.mu.Lock()
	for b, c := range p.codes {
		if !now.Before(c.ends) {
			delete(p.codes, b)
		}
	}
	full := len(p.codes) >= maxCodes && p.codes[digest(browser)] == nil
	if !full {
		p.codes[digest(browser)] = &code{text: string(raw[:]), left: CodeGuesses, ends: now.Add(CodeLife)}
	}
	p.mu.Unlock()
	if full {
		return authn.ErrTooMany
	}
	p.show(string(raw[:codeLetters/2]) + "-" + string(raw[codeLetters/2:]))
	return nil
}

// Enter takes a code that a person typed into this browser: in any case, with
// or without hyphen and spaces. It returns who signed in, by a one-time password
// (amr of RFC 8176) and now. A code serves once; after CodeGuesses wrong
// ones it is void. The error is authn.ErrCode.
func (p *Pairing) Enter(browser, typed string) (call.Principal, error) {
	if p == nil || browser == "" || len(typed) > 64 {
		return call.Principal{}, authn.ErrCode
	}
	typed = strings.ToUpper(strings.NewReplacer("-", "", " ", "", "\t", "").Replace(typed))
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.codes[digest(browser)]
	if c == nil {
		return call.Principal{}, authn.ErrCode
	}
	if !time.Now().Before(c.ends) {
		delete(p.codes, digest(browser))
		return call.Principal{}, authn.ErrCode
	}
	if subtle.ConstantTimeCompare([]byte(typed), []byte(c.text)) != 1 {
		if c.left--; c.left <= 0 {
			delete(p.codes, digest(browser))
		}
		return call.Principal{}, authn.ErrCode
	}
	delete(p.codes, digest(browser))
	id := p.who.Identity()
	id.AMR, id.AuthTime = []string{"otp"}, time.Now().Unix()
	return call.NewPrincipal(id), nil
}
