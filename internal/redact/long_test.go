package redact_test

import (
	"bytes"
	"testing"

	"github.com/munjigi/munjigi/internal/redact"
)

// TestManyEscapes reads what would take minutes if the end of the string were looked for once for each escape.
func TestManyEscapes(t *testing.T) {
	t.Parallel()
	const n = 4 << 20
	doc := append(append([]byte{'"'}, bytes.Repeat([]byte(`\\`), n)...), '"')
	texts := 0
	redact.Each(doc, func(x redact.Text) bool {
		texts++
		if len(x.Text) != n || x.To != len(doc) {
			t.Errorf("%d bytes of text up to %d", len(x.Text), x.To)
		}
		return true
	})
	if texts != 1 {
		t.Errorf("%d texts", texts)
	}
}
