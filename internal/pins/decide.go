package pins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/call"
)

// Row is one definition as the operator sees it.
type Row struct {
	Server string `json:"server"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// State is pinned, held or rejected.
	State  string      `json:"state"`
	Reason call.Reason `json:"reason,omitempty"`
	How    string      `json:"how,omitempty"`
	By     string      `json:"by,omitempty"`
	At     time.Time   `json:"at"`
}

// List returns what is known of the definitions of these servers, the held ones
// first.
func (w *Watch) List() []Row {
	out := []Row{}
	byIdentity := w.servers()
	w.p.mu.RLock()
	for at, h := range w.p.held {
		if server, ok := byIdentity[at.identity]; ok {
			state := "held"
			if h.Rejected {
				state = "rejected"
			}
			out = append(out, Row{server, at.kind, at.name, h.Digest, state, h.Reason, "", "", h.First})
		}
	}
	for at, p := range w.p.pins {
		if server, ok := byIdentity[at.identity]; ok {
			out = append(out, Row{server, at.kind, at.name, p.pin.Digest, "pinned", "", p.pin.How, p.pin.By, p.pin.At})
		}
	}
	w.p.mu.RUnlock()
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if (a.State == "pinned") != (b.State == "pinned") {
			return b.State == "pinned"
		}
		return strings.Join([]string{a.Server, a.Kind, a.Name, a.State}, "\x00") < strings.Join([]string{b.Server, b.Kind, b.Name, b.State}, "\x00")
	})
	return out
}

func (w *Watch) servers() map[string]string {
	byIdentity := map[string]string{}
	for name, r := range w.rules {
		byIdentity[r.Identity] = name
	}
	return byIdentity
}

// Difference is a held definition beside the one that is approved under its
// name.
type Difference struct {
	Hold     Hold            `json:"held"`
	Approved json.RawMessage `json:"approved,omitempty"`
	Changes  []Change        `json:"changes,omitempty"`
}

// Differences returns what is held, of one server where one is named, and of
// one name where that is given too.
func (w *Watch) Differences(server, name string) []Difference {
	out := []Difference{}
	byIdentity := w.servers()
	w.p.mu.RLock()
	defer w.p.mu.RUnlock()
	for at, h := range w.p.held {
		of, ok := byIdentity[at.identity]
		if !ok || server != "" && of != server || name != "" && at.name != name && !(at.kind == kindServer && name == kindServer) {
			continue
		}
		h.Server = of
		d := Difference{Hold: h}
		if p, ok := w.p.pins[at]; ok {
			d.Approved = p.pin.Raw
			d.Changes = Diff(p.pin.Raw, h.Raw)
		}
		out = append(out, d)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].Hold, out[j].Hold
		return a.Server+"\x00"+a.Kind+"\x00"+a.Name < b.Server+"\x00"+b.Kind+"\x00"+b.Name
	})
	return out
}

// Choice names one definition exactly as it was shown to the person.
type Choice struct {
	Server string `json:"server"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// ErrMoved: what was to be decided on is not what is held any more.
var ErrMoved = errors.New("the definition changed since it was shown: look at it again")

// Approve pins held definitions, all of them or, where one is not what was
// shown, none.
func (w *Watch) Approve(ctx context.Context, by string, all []Choice) error {
	return w.decide(ctx, all, func(at place, h Hold) error {
		d, ok := readDigest(h.Digest)
		if !ok {
			return fmt.Errorf("pins: %s of %s has no digest", h.Name, h.Server)
		}
		return w.p.pin(ctx, at, Pin{Server: h.Server, Kind: at.kind, Name: at.name, Digest: h.Digest, Raw: h.Raw, How: ByOperator, By: by, At: time.Now().UTC()}, d)
	})
}

// Reject keeps held definitions held whatever comes of them.
func (w *Watch) Reject(ctx context.Context, by string, all []Choice) error {
	return w.decide(ctx, all, func(at place, h Hold) error {
		h.Rejected, h.Reason = true, call.ReasonDefinitionRejected
		h.Findings = append(h.Findings, Finding{By: by, Reason: string(call.ReasonDefinitionRejected)})
		if err := w.p.put(ctx, whatHeld, row{Identity: at.identity, Kind: at.kind, Name: at.name, Held: &h}); err != nil {
			return err
		}
		w.p.mu.Lock()
		w.p.held[at] = h
		w.p.mu.Unlock()
		return nil
	})
}

// Withdraw takes pins back: what was approved is held from now on.
func (w *Watch) Withdraw(ctx context.Context, by string, all []Choice) error {
	w.p.writing.Lock()
	defer w.p.writing.Unlock()
	for _, c := range all {
		rule, ok := w.rules[c.Server]
		if !ok {
			return fmt.Errorf("there is no server %q", c.Server)
		}
		at := place{rule.Identity, c.Kind, c.Name}
		w.p.mu.RLock()
		pin, ok := w.p.pins[at]
		w.p.mu.RUnlock()
		if !ok || pin.pin.Digest != c.Digest {
			return fmt.Errorf("%s of %s: %w", c.Name, c.Server, ErrMoved)
		}
		if err := w.p.drop(ctx, whatPin, at); err != nil {
			return err
		}
		w.p.mu.Lock()
		delete(w.p.pins, at)
		w.p.mu.Unlock()
		w.p.hold(ctx, at, Hold{Server: c.Server, Kind: c.Kind, Name: c.Name, Digest: c.Digest, Raw: pin.pin.Raw, Reason: call.ReasonDefinitionRejected, Rejected: true,
			First: time.Now().UTC(), Findings: []Finding{{By: by, Reason: string(call.ReasonDefinitionRejected)}}})
	}
	return nil
}

func (w *Watch) decide(ctx context.Context, all []Choice, do func(place, Hold) error) error {
	w.p.writing.Lock()
	defer w.p.writing.Unlock()
	type one struct {
		at place
		h  Hold
	}
	var found []one
	for _, c := range all {
		rule, ok := w.rules[c.Server]
		if !ok {
			return fmt.Errorf("there is no server %q: munjigi servers list shows them", c.Server)
		}
		at := place{rule.Identity, c.Kind, c.Name}
		w.p.mu.RLock()
		h, ok := w.p.held[at]
		w.p.mu.RUnlock()
		if !ok || h.Digest != c.Digest {
			return fmt.Errorf("%s of %s: %w", c.Name, c.Server, ErrMoved)
		}
		h.Server = c.Server
		found = append(found, one{at, h})
	}
	moved := map[string]bool{}
	for _, f := range found {
		if err := do(f.at, f.h); err != nil {
			return err
		}
		moved[f.at.identity] = true
	}
	for identity := range moved {
		w.p.generation(identity).Add(1)
	}
	return nil
}

// File is what is exported for review, and imported.
type File struct {
	Format string `json:"format"` // FileFormat
	Pins   []Pin  `json:"pins"`
}

// FileFormat names the form of a file of approvals.
const FileFormat = "munjigi-approvals-1"

// Export returns the pins of these servers, or of one, in a stable order.
func (w *Watch) Export(server string) File {
	f := File{Format: FileFormat, Pins: []Pin{}}
	byIdentity := w.servers()
	w.p.mu.RLock()
	for at, p := range w.p.pins {
		of, ok := byIdentity[at.identity]
		if !ok || server != "" && of != server {
			continue
		}
		pin := p.pin
		pin.Server = of
		f.Pins = append(f.Pins, pin)
	}
	w.p.mu.RUnlock()
	slices.SortFunc(f.Pins, func(a, b Pin) int {
		return strings.Compare(a.Server+"\x00"+a.Kind+"\x00"+a.Name, b.Server+"\x00"+b.Kind+"\x00"+b.Name)
	})
	return f
}

// Import pins what a file says, signed anew by this gateway. Nothing is pinned
// when an entry is not what its digest says, or names a server that is not here.
func (w *Watch) Import(ctx context.Context, by string, f File) (n int, err error) {
	if f.Format != FileFormat {
		return 0, fmt.Errorf("the file's format is not %s", FileFormat)
	}
	for i, p := range f.Pins {
		if _, ok := w.rules[p.Server]; !ok {
			return 0, fmt.Errorf("pins[%d] is of the server %q, which this config does not have", i, p.Server)
		}
		if methodOf(p.Kind) == "" || len(p.Raw) > MostBytes || !fits(p) {
			return 0, fmt.Errorf("pins[%d] (%s): its digest is not that of its definition", i, p.Name)
		}
	}
	w.p.writing.Lock()
	defer w.p.writing.Unlock()
	moved := map[string]bool{}
	for _, p := range f.Pins {
		at := place{w.rules[p.Server].Identity, p.Kind, p.Name}
		w.p.mu.RLock()
		old, had := w.p.pins[at]
		w.p.mu.RUnlock()
		if had && old.pin.Digest == p.Digest {
			continue
		}
		d, _ := readDigest(p.Digest)
		if err := w.p.pin(ctx, at, Pin{Server: p.Server, Kind: p.Kind, Name: p.Name, Digest: p.Digest, Raw: canonical(p.Raw), How: ByFile, By: by, At: time.Now().UTC()}, d); err != nil {
			return n, err
		}
		moved[at.identity] = true
		n++
	}
	for identity := range moved {
		w.p.generation(identity).Add(1)
	}
	return n, nil
}
