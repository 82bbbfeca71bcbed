package app_test

import (
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// views writes what differs from run to run as names: what the script named,
// then what is known by its shape.
type views struct {
	mu      sync.Mutex
	names   map[string]string // value to name
	byName  map[string]string
	streams map[string]string
	places  *strings.Replacer
	calls   map[string]bool // record IDs that clients were told
}

func newViews(places ...string) *views {
	return &views{names: map[string]string{}, byName: map[string]string{}, streams: map[string]string{},
		places: strings.NewReplacer(places...), calls: map[string]bool{}}
}

func (v *views) name(name, value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.names[value], v.byName[name] = name, value
}

// fill puts named values into a step.
func (v *views) fill(text string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, value := range v.byName {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}

// expand and shorten write the specification's prefix of names in _meta.
func (v *views) expand(text string) string { return strings.ReplaceAll(text, `"~/`, `"`+metaPrefix) }

func shorten(text string) string { return strings.ReplaceAll(text, `"`+metaPrefix, `"~/`) }

var (
	recordID  = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	ownToken  = regexp.MustCompile(`"[0-9a-f]{24}"`)
	sealed    = regexp.MustCompile(`"s[A-Za-z0-9_-]{60,}"|"n[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{40,}"`)
	sessionID = regexp.MustCompile(`\b[A-Z2-7]{26}\b`)
	ownConn   = regexp.MustCompile(`\b[0-9a-f]{16}\.`)
	moment    = regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`)
	digest    = regexp.MustCompile(`\bhash:[0-9a-f]{32}\b`)
	elicited  = regexp.MustCompile(`"elicitationId":"[0-9a-f]{32}"`)
)

// client is what a client saw.
func (v *views) client(text string) string {
	text = v.named(text)
	text = digest.ReplaceAllString(text, "hash:«digest»")
	text = elicited.ReplaceAllString(text, `"elicitationId":"«elicitation»"`)
	for _, id := range recordID.FindAllString(text, -1) {
		v.mu.Lock()
		v.calls[id] = true
		v.mu.Unlock()
	}
	text = recordID.ReplaceAllString(text, "«id»")
	text = moment.ReplaceAllString(text, "«now»")
	text = sealed.ReplaceAllString(text, `"«sealed»"`)
	text = sessionID.ReplaceAllString(text, "«session»")
	return shorten(v.places.Replace(text))
}

// upstream is what a server saw.
func (v *views) upstream(text string) string {
	text = v.named(text)
	text = ownToken.ReplaceAllString(text, `"«token»"`)
	text = sealed.ReplaceAllString(text, `"«sealed»"`)
	return strings.ReplaceAll(shorten(v.places.Replace(text)), ownMeta, "«modern»,")
}

// ownMeta is what the _meta of each request of the modern test client begins
// with; the view writes it short when it arrived unchanged.
const ownMeta = `"~/protocolVersion":"2026-07-28","~/clientInfo":{"name":"golden","version":"1"},`

// named replaces named values, the longest first.
func (v *views) named(text string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	values := make([]string, 0, len(v.names))
	for value := range v.names {
		if len(value) >= 16 {
			values = append(values, value)
		}
	}
	sort.Slice(values, func(i, j int) bool { return len(values[i]) > len(values[j]) })
	for _, value := range values {
		text = strings.ReplaceAll(text, value, "${"+v.names[value]+"}")
	}
	return text
}

// eventID names the stream of an event ID by its order of appearance.
func (v *views) eventID(id string) string {
	stream, seq, _ := strings.Cut(id, ".")
	v.mu.Lock()
	defer v.mu.Unlock()
	n, ok := v.streams[stream]
	if !ok {
		n = "stream " + strconv.Itoa(len(v.streams)+1)
		v.streams[stream] = n
	}
	return n + "." + seq
}
