package audit

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// Bytes of text kept of each member. A longer text is cut and says so: its last characters are then cutMark's.
const (
	boundID        = 128
	boundKind      = 64
	boundStage     = 64
	boundEffect    = 64
	boundReason    = 128
	boundPrincipal = 512
	boundServer    = 64
	boundMethod    = 128
	boundTarget    = 1024
	boundEra       = 64
	boundClient    = 256
	boundSession   = 64
	boundStep      = 256
	boundDetail    = 1024
)

// Append writes e as one JSON object without a line break and returns the longer slice. Details whose names Check
// refuses are left out. Append does not allocate when dst has room.
func (e *Event) Append(dst []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendText(dst, e.ID, boundID)
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, timeLayout)
	dst = append(dst, `","kind":`...)
	dst = appendText(dst, e.Kind, boundKind)
	dst = append(dst, `,"stage":`...)
	dst = appendText(dst, e.Stage, boundStage)
	dst = append(dst, `,"effect":`...)
	dst = appendText(dst, e.Effect, boundEffect)
	dst = append(dst, `,"reason":`...)
	dst = appendText(dst, e.Reason, boundReason)
	dst = append(dst, `,"principal":`...)
	dst = appendText(dst, e.Principal, boundPrincipal)
	dst = append(dst, `,"server":`...)
	dst = appendText(dst, e.Server, boundServer)
	dst = append(dst, `,"method":`...)
	dst = appendText(dst, e.Method, boundMethod)
	dst = append(dst, `,"target":`...)
	dst = appendText(dst, e.Target, boundTarget)
	if e.Era != "" {
		dst = append(dst, `,"era":`...)
		dst = appendText(dst, e.Era, boundEra)
	}
	if e.Client != "" {
		dst = append(dst, `,"client":`...)
		dst = appendText(dst, e.Client, boundClient)
	}
	for i, actor := range e.Actors[:min(len(e.Actors), MaxActors)] {
		if i == 0 {
			dst = append(dst, `,"actors":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendText(dst, actor, boundPrincipal)
	}
	if len(e.Actors) > 0 {
		dst = append(dst, ']')
	}
	if e.Session != "" {
		dst = append(dst, `,"session":`...)
		dst = appendText(dst, e.Session, boundSession)
	}
	if len(e.Trail) > 0 {
		dst = appendTrail(append(dst, `,"trail":`...), e.Trail)
	}
	if us := e.Duration.Microseconds(); us != 0 {
		dst = append(dst, `,"duration_us":`...)
		dst = strconv.AppendInt(dst, us, 10)
	}
	dst = appendDetail(dst, e.Detail)
	return append(dst, '}')
}

func appendTrail(dst []byte, trail []Step) []byte {
	left := 0
	if len(trail) > MaxTrail {
		left = len(trail) - (MaxTrail - 1)
		trail = trail[:MaxTrail-1]
	}
	found := 0
	dst = append(dst, '[')
	for i := range trail {
		if i > 0 {
			dst = append(dst, ',')
		}
		s := &trail[i]
		dst = append(dst, `{"stage":`...)
		dst = appendText(dst, s.Stage, boundStage)
		dst = append(dst, `,"effect":`...)
		dst = appendText(dst, s.Effect, boundEffect)
		dst = append(dst, `,"reason":`...)
		dst = appendText(dst, s.Reason, boundReason)
		if s.Detail != "" {
			dst = append(dst, `,"detail":`...)
			dst = appendText(dst, s.Detail, boundStep)
		}
		for j := range s.Findings[:min(len(s.Findings), MaxFindings-found)] {
			f := &s.Findings[j]
			if j == 0 {
				dst = append(dst, `,"findings":[{"guard":`...)
			} else {
				dst = append(dst, `,{"guard":`...)
			}
			dst = appendText(dst, f.Guard, boundStage)
			dst = append(dst, `,"reason":`...)
			dst = appendText(dst, f.Reason, boundReason)
			if f.Path != "" {
				dst = append(dst, `,"path":`...)
				dst = appendText(dst, f.Path, boundStep)
			}
			dst = append(dst, '}')
		}
		if n := min(len(s.Findings), MaxFindings-found); n > 0 {
			found += n
			dst = append(dst, ']')
		}
		dst = append(dst, '}')
	}
	if left > 0 {
		dst = append(dst, `,{"stage":"record","effect":"","reason":"trail-cut","detail":"`...)
		dst = strconv.AppendInt(dst, int64(left), 10)
		dst = append(dst, ` steps left out"}`...)
	}
	return append(dst, ']')
}

func appendDetail(dst []byte, detail map[string]string) []byte {
	var names [MaxDetail]string
	n := 0
	for name := range detail {
		if !nameOf(name, 64, isDetailByte) {
			continue
		}
		at := n
		for at > 0 && names[at-1] > name {
			at--
		}
		if at == MaxDetail {
			continue
		}
		n = min(n+1, MaxDetail)
		copy(names[at+1:n], names[at:n-1])
		names[at] = name
	}
	if n == 0 {
		return dst
	}
	sep := `,"detail":{`
	for _, name := range names[:n] {
		dst = append(dst, sep...)
		dst = appendText(dst, name, boundStep)
		dst = append(dst, ':')
		dst = appendText(dst, detail[name], boundDetail)
		sep = ","
	}
	return append(dst, '}')
}

func appendText(dst []byte, s string, bound int) []byte {
	dst = append(dst, '"')
	if len(s) <= bound && isPlain(s) {
		dst = append(dst, s...)
		return append(dst, '"')
	}
	size := 0
	for _, r := range s {
		size += utf8.RuneLen(r)
	}
	if size <= bound {
		for _, r := range s {
			dst = appendRune(dst, r)
		}
		return append(dst, '"')
	}
	var room [64]byte
	mark := appendCutMark(room[:0], size)
	kept := 0
	for _, r := range s {
		if kept+utf8.RuneLen(r) > bound-len(mark) {
			break
		}
		kept += utf8.RuneLen(r)
		dst = appendRune(dst, r)
	}
	dst = append(dst, mark...)
	return append(dst, '"')
}

func appendCutMark(dst []byte, size int) []byte {
	dst = append(dst, "…[cut from "...)
	dst = strconv.AppendInt(dst, int64(size), 10)
	return append(dst, " bytes]"...)
}

func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func appendRune(dst []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r == '\n':
		return append(dst, `\n`...)
	case r == '\r':
		return append(dst, `\r`...)
	case r == '\t':
		return append(dst, `\t`...)
	case r >= 0x20 && r < 0x7f:
		return append(dst, byte(r))
	case !isHidden(r):
		return utf8.AppendRune(dst, r)
	case r > 0xffff:
		r -= 0x10000
		dst = appendEscape(dst, 0xd800+r>>10)
		return appendEscape(dst, 0xdc00+r&0x3ff)
	default:
		return appendEscape(dst, r)
	}
}

// isHidden reports whether a terminal or an editor may obey r or show nothing for it.
func isHidden(r rune) bool {
	return r < 0x20 || r >= 0x7f && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) ||
		unicode.Is(unicode.Variation_Selector, r) || r == 0x2800 || r == 0x3164 || r == 0xffa0 || r == 0x115f || r == 0x1160
}

func appendEscape(dst []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}

type line struct {
	ID        string            `json:"id"`
	Time      time.Time         `json:"time"`
	Kind      string            `json:"kind"`
	Stage     string            `json:"stage"`
	Effect    string            `json:"effect"`
	Reason    string            `json:"reason"`
	Principal string            `json:"principal"`
	Server    string            `json:"server"`
	Method    string            `json:"method"`
	Target    string            `json:"target"`
	Era       string            `json:"era"`
	Client    string            `json:"client"`
	Actors    []string          `json:"actors"`
	Session   string            `json:"session"`
	Trail     []Step            `json:"trail"`
	Duration  int64             `json:"duration_us"`
	Detail    map[string]string `json:"detail"`
}

// Parse reads one line that Append wrote, with or without its line break. Members that it does not know are skipped,
// so that an older command reads a newer record. The event has passed Check.
func Parse(b []byte) (Event, error) {
	if len(b) > MaxLine+1 {
		return Event{}, fmt.Errorf("audit: a line of %d bytes, at most %d can be an event", len(b), MaxLine)
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return Event{}, fmt.Errorf("audit: not an event: %w", err)
	}
	e := Event{
		ID: l.ID, Time: l.Time.UTC(), Kind: l.Kind, Stage: l.Stage, Effect: l.Effect, Reason: l.Reason,
		Principal: l.Principal, Server: l.Server, Method: l.Method, Target: l.Target,
		Era: l.Era, Client: l.Client, Actors: l.Actors, Session: l.Session, Trail: l.Trail,
		Duration: time.Duration(l.Duration) * time.Microsecond, Detail: l.Detail,
	}
	if err := e.Check(); err != nil {
		return Event{}, err
	}
	return e, nil
}

// MarshalJSON writes what Append writes, so that every JSON output shows an event alike.
func (e Event) MarshalJSON() ([]byte, error) { return e.Append(nil), nil }

// UnmarshalJSON reads what Parse reads.
func (e *Event) UnmarshalJSON(b []byte) error {
	got, err := Parse(b)
	if err != nil {
		return err
	}
	*e = got
	return nil
}
