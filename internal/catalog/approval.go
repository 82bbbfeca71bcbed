package catalog

import (
	"crypto/sha256"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// KindServer is what a server says of itself: its instructions, name, title and
// icons. There is one definition of it, whose name is empty.
const KindServer Kind = "server"

// Standing is what a person decided about a definition. The zero standing is
// Held.
type Standing uint8

// The standings.
const (
	// Held: this definition was not approved.
	Held Standing = iota
	// Pinned: this very definition was approved, or pinned at first sight.
	Pinned
	// Graded: the operator said that this server's definitions are not pinned;
	// the guards alone decide.
	Graded
)

// Sighting is a definition that was seen and has no pin, with what the guards
// said.
type Sighting struct {
	Server string
	Kind   Kind
	Name   string
	Digest [32]byte
	Raw    []byte
	// Stopped is why a guard would not let it pass; empty where all did.
	Stopped  call.Reason
	Findings []call.Finding
	Score    float64
}

// Digest is the digest of a whole definition: of its canonical form, so that it
// changes with anything but white space, the order of members and the escaping
// of strings. Of a resource, size and the time of the last change are left out:
// they tell of its content.
func Digest(kind Kind, raw []byte) (sum [32]byte, ok bool) {
	if kind == mcp.MethodResourcesList {
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			return sum, false
		}
		o = o.Without("size")
		if a, has := o.Get("annotations"); has {
			if ao, err := strictjson.SplitObject(a); err == nil && strictjson.TypeOf(a) == strictjson.TypeObject {
				if ao = ao.Without("lastModified"); len(ao) == 0 {
					o = o.Without("annotations")
				} else {
					o = o.With("annotations", ao.Append(nil))
				}
			}
		}
		raw = o.Append(nil)
	}
	canon, err := strictjson.Canonical(raw)
	if err != nil {
		return sum, false
	}
	return sha256.Sum256(canon), true
}
