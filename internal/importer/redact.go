package importer

import (
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/config"
)

// mostKept bounds what is kept of one value that is not understood.
const mostKept = 8 << 10

// redact shows a JSON value on one line, with a placeholder for every text
// that could be a secret. Names of members stay unless they look like one.
func redact(raw []byte) string {
	var b strings.Builder
	writeRedacted(&b, "", raw, 0)
	text := b.String()
	if len(text) > mostKept {
		text = strings.ToValidUTF8(text[:mostKept], "") + "… (cut)"
	}
	return config.Visible(text)
}

func writeRedacted(b *strings.Builder, name string, raw []byte, depth int) {
	if b.Len() > 2*mostKept {
		return
	}
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeObject:
		o, err := strictjson.SplitObject(raw)
		if err != nil || depth > 64 {
			return
		}
		b.WriteByte('{')
		for i, m := range o {
			if i > 0 {
				b.WriteString(", ")
			}
			writeText(b, "", m.Name)
			b.WriteString(": ")
			inner := m.Name
			if name == allOfIt || strings.EqualFold(m.Name, "headers") {
				inner = allOfIt
			}
			writeRedacted(b, inner, m.Raw, depth+1)
		}
		b.WriteByte('}')
	case strictjson.TypeArray:
		list, err := strictjson.SplitArray(raw)
		if err != nil || depth > 64 {
			return
		}
		b.WriteByte('[')
		before := ""
		for i, item := range list {
			if i > 0 {
				b.WriteString(", ")
			}
			holder := name
			if name != allOfIt && strings.HasPrefix(before, "-") {
				holder = before
			}
			writeRedacted(b, holder, item, depth+1)
			before, _ = scalar(item)
		}
		b.WriteByte(']')
	case strictjson.TypeString:
		text, err := strictjson.String(raw)
		if err != nil {
			return
		}
		if _, part := leadOf(text, ""); part != "" && name == "" {
			name = part
		}
		writeText(b, name, text)
	default:
		text := strings.TrimSpace(string(raw))
		if name == allOfIt || secretLooking(name, text) {
			text = placeholder
		}
		b.WriteString(text)
	}
}

// allOfIt stands in place of a name where every text is left out: all values
// of headers are treated as credentials.
const allOfIt = "\x00"

// placeholder stands for a value that could be a secret.
const placeholder = "<left out>"

func writeText(b *strings.Builder, name, text string) {
	lead, part := leadOf(text, "")
	if name == allOfIt || secretLooking(name, text) || part != "" && secretLooking(part, text[len(lead):]) {
		b.WriteString(placeholder)
		return
	}
	b.WriteString(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
}
