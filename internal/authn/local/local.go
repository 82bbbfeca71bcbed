// Package local authenticates callers of a gateway that has no identity
// provider: one operator, by bearer token.
//
// Threat: any page, process or agent that can reach the loopback address. A
// token is needed even there. The operator's own token lies in a file only
// the operator can read and is for the operator's commands; lines to paste
// into clients carry tokens of their own, which name the client, expire and
// can be revoked one by one.
//
// It guarantees constant-time comparison and that a wrong token never falls
// back to a weaker proof. It does not protect against a program that runs as
// the same user and can read the operator's files: no check inside the
// gateway can.
package local

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// Issuer is the issuer of every local principal.
const Issuer = "munjigi:local"

const (
	operatorPrefix = "mjo_"
	clientPrefix   = "mjc_"
	challenge      = `Bearer realm="munjigi"`
	invalid        = `Bearer realm="munjigi", error="invalid_token"`
)

// Revoked reports that a client token, named by its client and serial, was
// taken back.
type Revoked func(proof string) bool

// Local is the authenticator. The zero value refuses everybody.
type Local struct {
	// Operator is the digest of the operator's token.
	Operator [32]byte
	// Key is the subkey under which client tokens are made.
	Key [32]byte
	// Revoked must be set; nil refuses client tokens.
	Revoked Revoked
	// Anonymous lets anyone on loopback in (insecure_anonymous).
	Anonymous bool
}

var _ authn.Authenticator = (*Local)(nil)

// Authenticate implements authn.Authenticator.
func (l *Local) Authenticate(_ context.Context, r authn.Request) (call.Principal, error) {
	hs := r.Header["Authorization"]
	if len(hs) == 0 {
		if l.Anonymous && r.Loopback {
			return call.NewPrincipal(call.Identity{Issuer: Issuer, Subject: "anonymous", Kind: call.Anonymous}), nil
		}
		return call.Principal{}, &authn.Refusal{Reason: call.ReasonUnauthenticated, Challenge: challenge,
			Text: "send a token as Authorization: Bearer; `munjigi tokens new NAME` makes one"}
	}
	if len(hs) > 1 {
		return refuse("send one Authorization header")
	}
	scheme, token, ok := strings.Cut(hs[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return refuse("the Authorization header must be: Bearer and a token")
	}
	if strings.HasPrefix(token, operatorPrefix) {
		sum := sha256.Sum256([]byte(token))
		if l.Operator == [32]byte{} || subtle.ConstantTimeCompare(sum[:], l.Operator[:]) != 1 {
			return refuse("the token is not valid here")
		}
		return call.NewPrincipal(call.Identity{Issuer: Issuer, Subject: "operator", Kind: call.Operator, Client: "operator"}), nil
	}
	t, ok := l.parse(token)
	if !ok || l.Revoked == nil {
		return refuse("the token is not valid here")
	}
	if time.Now().Unix() >= t.Expires.Unix() {
		return call.Principal{}, &authn.Refusal{Reason: call.ReasonTokenExpired, Challenge: invalid, Text: "the token has expired: `munjigi tokens new " + t.Client + "` makes another"}
	}
	if l.Revoked(t.Proof()) {
		return refuse("the token was revoked")
	}
	return call.NewPrincipal(call.Identity{Issuer: Issuer, Subject: "operator", Kind: call.Operator, Client: t.Client,
		Proof: t.Proof(), Expires: t.Expires.Unix()}), nil
}

func refuse(text string) (call.Principal, error) {
	return call.Principal{}, &authn.Refusal{Reason: call.ReasonUnauthenticated, Challenge: invalid, Text: text}
}

// Current implements authn.Authenticator.
func (l *Local) Current(p call.Principal) bool {
	id := p.Identity()
	if !p.Valid() || id.Expires != 0 && time.Now().Unix() >= id.Expires {
		return false
	}
	return id.Proof == "" || l.Revoked != nil && !l.Revoked(id.Proof)
}

// Attached is the principal of whoever holds the gateway's own end of a pipe or
// of a socket that only the operator can open; client says which.
func Attached(client string) call.Principal {
	return call.NewPrincipal(call.Identity{Issuer: Issuer, Subject: "operator", Kind: call.Operator, Client: client})
}

// Token is a client token: which client it names, its number and its end.
type Token struct {
	Client  string
	Serial  uint64
	Expires time.Time
}

// Proof names the token on the record and in the list of revoked ones.
func (t Token) Proof() string { return t.Client + "." + strconv.FormatUint(t.Serial, 10) }

var clientName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Mint returns the text of a client token. The same client, serial and expiry
// give the same text, so that a line to paste can be printed again.
func (l *Local) Mint(t Token) (string, error) {
	if !clientName.MatchString(t.Client) {
		return "", fmt.Errorf("client name %q: use a lower-case letter, then letters, digits and hyphens, 32 at most", t.Client)
	}
	if l.Key == [32]byte{} {
		return "", errors.New("no key to make tokens with")
	}
	body := t.Client + "." + strconv.FormatUint(t.Serial, 10) + "." + strconv.FormatInt(t.Expires.Unix(), 10)
	return clientPrefix + body + "." + base64.RawURLEncoding.EncodeToString(l.mac(body)), nil
}

func (l *Local) mac(body string) []byte {
	m := hmac.New(sha256.New, l.Key[:])
	m.Write([]byte("munjigi client token v1\x00"))
	m.Write([]byte(body))
	return m.Sum(nil)
}

func (l *Local) parse(token string) (Token, bool) {
	rest, ok := strings.CutPrefix(token, clientPrefix)
	if !ok || len(rest) > 256 || l.Key == [32]byte{} {
		return Token{}, false
	}
	i := strings.LastIndexByte(rest, '.')
	if i < 0 {
		return Token{}, false
	}
	body := rest[:i]
	sum, err := base64.RawURLEncoding.Strict().DecodeString(rest[i+1:])
	if err != nil || !hmac.Equal(sum, l.mac(body)) {
		return Token{}, false
	}
	parts := strings.Split(body, ".")
	if len(parts) != 3 || !clientName.MatchString(parts[0]) {
		return Token{}, false
	}
	serial, err1 := strconv.ParseUint(parts[1], 10, 64)
	exp, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err1 != nil || err2 != nil {
		return Token{}, false
	}
	return Token{Client: parts[0], Serial: serial, Expires: time.Unix(exp, 0)}, true
}

// OperatorToken reads <data>/operator.token, making it when it is not there,
// and returns it with its digest. A file that others can read is refused.
func OperatorToken(data string) (token string, digest [32]byte, err error) {
	path := filepath.Join(data, "operator.token")
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own data folder
	if errors.Is(err, fs.ErrNotExist) {
		var raw [32]byte
		_, _ = rand.Read(raw[:])
		token = operatorPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // as above
		if err != nil {
			return "", digest, err
		}
		if _, err := f.WriteString(token + "\n"); err != nil {
			_ = f.Close()
			return "", digest, err
		}
		if err := f.Close(); err != nil {
			return "", digest, err
		}
		return token, sha256.Sum256([]byte(token)), nil
	}
	if err != nil {
		return "", digest, err
	}
	if err := onlyOwner(path); err != nil {
		return "", digest, err
	}
	token = strings.TrimSpace(string(b))
	if !strings.HasPrefix(token, operatorPrefix) || len(token) < 40 {
		return "", digest, fmt.Errorf("%s does not hold an operator token: remove the file and start again", path)
	}
	return token, sha256.Sum256([]byte(token)), nil
}
