package pins

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
)

// Watch is what one gateway sees of the pins: the servers of its config and
// what is said of each. It implements the gateway's contract.
type Watch struct {
	p     *Pins
	rules map[string]Rule
}

// Under returns the pins as a gateway with these rules, by server, sees them.
func (p *Pins) Under(rules map[string]Rule) *Watch { return &Watch{p, maps.Clone(rules)} }

func digestOf(kind string, raw []byte) ([32]byte, bool) {
	return catalog.Digest(methodOf(kind), raw)
}

// Look says how a definition stands, and which one is approved under its name
// where that is another; nil where there is none.
func (w *Watch) Look(server string, kind catalog.Kind, name string, digest [32]byte) (catalog.Standing, *catalog.Definition) {
	rule, ok := w.rules[server]
	if !ok {
		return catalog.Held, nil
	}
	w.p.mu.RLock()
	pin, ok := w.p.pins[place{rule.Identity, kindOf(kind), name}]
	w.p.mu.RUnlock()
	switch {
	case ok && pin.digest == digest:
		return catalog.Pinned, nil
	case rule.Unpinned:
		return catalog.Graded, nil
	case ok:
		return catalog.Held, &catalog.Definition{Name: name, Digest: pin.digest, Raw: pin.pin.Raw}
	}
	return catalog.Held, nil
}

// Generation counts the changes of what a server may offer.
func (w *Watch) Generation(server string) uint64 {
	return w.p.generation(w.rules[server].Identity).Load()
}

// Barred reports that a name of a list is held and has no pin.
func (w *Watch) Barred(server string, kind catalog.Kind, name string) bool {
	rule, ok := w.rules[server]
	if !ok {
		return true
	}
	at := place{rule.Identity, kindOf(kind), name}
	w.p.mu.RLock()
	defer w.p.mu.RUnlock()
	_, held := w.p.held[at]
	return held
}

// Sight takes note of a definition that has no pin. It pins it where this is its
// first sight and nothing was found; the reason it returns is empty then.
// Otherwise it is held, and the reason says why.
func (w *Watch) Sight(ctx context.Context, s catalog.Sighting) call.Reason {
	rule, ok := w.rules[s.Server]
	if !ok {
		return call.ReasonDefinitionNew
	}
	if len(s.Raw) > MostBytes || len(s.Name) > 700 {
		return call.ReasonDefinitionLarge
	}
	p := w.p
	p.writing.Lock()
	defer p.writing.Unlock()
	at := place{rule.Identity, kindOf(s.Kind), s.Name}
	p.mu.RLock()
	pin, hasPin := p.pins[at]
	held, isHeld := p.held[at]
	p.mu.RUnlock()
	if hasPin && pin.digest == s.Digest {
		return ""
	}
	digest := hex.EncodeToString(s.Digest[:])
	if isHeld && held.Digest == digest {
		return held.Reason
	}
	reason, findings := w.judge(ctx, rule, at, s, hasPin)
	if reason == "" {
		if err := p.pin(ctx, at, Pin{Server: s.Server, Kind: at.kind, Name: s.Name, Digest: digest, Raw: canonical(s.Raw), How: ByFirstSight, At: time.Now().UTC()}, s.Digest); err != nil {
			p.o.Log.Error("a definition cannot be pinned and is held", "server", s.Server, "name", s.Name, "err", err)
			return call.ReasonInternal
		}
		w.reverse(ctx, s)
		return ""
	}
	h := Hold{Server: s.Server, Kind: at.kind, Name: s.Name, Digest: digest, Raw: canonical(s.Raw), Reason: reason, Score: s.Score, First: time.Now().UTC()}
	for _, f := range append(findings, s.Findings...) {
		h.Findings = append(h.Findings, Finding{f.Guard, string(f.Reason), f.Path, excerpt(s.Raw, f)})
	}
	p.hold(ctx, at, h)
	return reason
}

// judge says why a definition is held, or nothing.
func (w *Watch) judge(ctx context.Context, rule Rule, at place, s catalog.Sighting, hasPin bool) (call.Reason, []call.Finding) {
	var found []call.Finding
	if hasPin {
		found = append(found, call.Finding{Guard: "definitions", Reason: call.ReasonDefinitionChanged})
	}
	found = append(found, w.collisions(rule, s)...)
	switch {
	case hasPin:
		return call.ReasonDefinitionChanged, found
	case s.Stopped != "":
		return s.Stopped, found
	case len(found) > 0:
		return found[0].Reason, found
	case rule.Unpinned:
		return call.ReasonDefinitionNew, found
	case w.open(ctx, rule, at):
		return "", nil
	case at.kind == kindResources && rule.NewResources:
		return "", nil
	}
	return call.ReasonDefinitionNew, found
}

// open reports that the list is being seen for the first time, and takes note
// that it began.
func (w *Watch) open(ctx context.Context, rule Rule, at place) bool {
	if !rule.Clean {
		return false
	}
	list := place{at.identity, at.kind, ""}
	w.p.mu.RLock()
	s, known := w.p.sights[list]
	w.p.mu.RUnlock()
	if known {
		return !s.Closed && time.Since(s.First) < sightLasts && s.count < mostPins
	}
	s = sight{First: time.Now().UTC()}
	if err := w.p.put(ctx, whatSight, row{Identity: list.identity, Kind: list.kind, Sight: &s}); err != nil {
		w.p.o.Log.Error("a first sight cannot be noted, so nothing is pinned", "err", err)
		return false
	}
	w.p.mu.Lock()
	w.p.sights[list] = s
	w.p.mu.Unlock()
	return true
}

// Complete says that a list was seen to its end: what comes later is new.
func (w *Watch) Complete(ctx context.Context, server string, kind catalog.Kind) {
	rule, ok := w.rules[server]
	if !ok || rule.Unpinned {
		return
	}
	list := place{rule.Identity, kindOf(kind), ""}
	p := w.p
	p.mu.RLock()
	s, known := p.sights[list]
	p.mu.RUnlock()
	if known && s.Closed {
		return
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.RLock()
	s, known = p.sights[list]
	n := 0
	for at := range p.pins {
		if at.identity == list.identity && at.kind == list.kind {
			n++
		}
	}
	p.mu.RUnlock()
	if known && s.Closed {
		return
	}
	if !known {
		s.First = time.Now().UTC()
	}
	s.Closed = true
	if err := p.put(ctx, whatSight, row{Identity: list.identity, Kind: list.kind, Sight: &s}); err != nil {
		p.o.Log.Error("that a list was seen cannot be noted", "server", server, "err", err)
		return
	}
	p.mu.Lock()
	p.sights[list] = s
	p.mu.Unlock()
	if n > 0 {
		p.o.Told.Sighted(server, list.kind, n)
	}
}

// pin writes a pin; writing is held.
func (p *Pins) pin(ctx context.Context, at place, pin Pin, digest [32]byte) error {
	if err := p.sign(at.identity, &pin); err != nil {
		return err
	}
	if err := p.put(ctx, whatPin, row{Identity: at.identity, Kind: at.kind, Name: at.name, Pin: &pin}); err != nil {
		return err
	}
	if err := p.drop(ctx, whatHeld, at); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, was := p.held[at]; was {
		p.counts[at.identity]--
		delete(p.held, at)
	}
	p.pins[at] = pinned{digest, pin, mentions(pin.Raw)}
	list := place{at.identity, at.kind, ""}
	s := p.sights[list]
	s.count++
	p.sights[list] = s
	return nil
}

// hold writes what is held and moves the generation; writing is held. What
// cannot be written is held all the same: it has no pin.
func (p *Pins) hold(ctx context.Context, at place, h Hold) {
	p.mu.RLock()
	_, was := p.held[at]
	full := p.counts[at.identity] >= mostHeld && !was
	p.mu.RUnlock()
	p.generation(at.identity).Add(1)
	if full {
		p.o.Log.Warn("a server has more held definitions than are shown", "server", h.Server)
		return
	}
	if err := p.put(ctx, whatHeld, row{Identity: at.identity, Kind: at.kind, Name: at.name, Held: &h}); err != nil {
		p.o.Log.Error("a held definition cannot be noted", "server", h.Server, "name", h.Name, "err", err)
	}
	p.mu.Lock()
	p.held[at] = h
	if !was {
		p.counts[at.identity]++
	}
	p.mu.Unlock()
	p.o.Told.Held(h)
}

// canonical is the form in which definitions are kept and compared.
func canonical(raw []byte) []byte {
	c, err := strictjson.Canonical(raw)
	if err != nil {
		return slices.Clone(raw)
	}
	return c
}
