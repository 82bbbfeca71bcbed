package schema

import (
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/guardtest"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	guardtest.Run(t, func(_ *testing.T, config string) guard.Guard { return New(strings.Fields(config)) })
}

// FuzzCheck holds any schema and any value to three properties: no panic, an
// end within the budget, and closing never allows what was refused without it.
func FuzzCheck(f *testing.F) {
	f.Add(`{"properties":{"a":{"type":"integer"}}}`, `{"a":1,"b":2}`)
	f.Add(`{"$defs":{"n":{"properties":{"k":{"items":{"$ref":"#/$defs/n"}}}}},"$ref":"#/$defs/n"}`, `{"k":[{"k":[]}]}`)
	f.Add(`{"anyOf":[{"format":"uri"},{"pattern":"^a{1,3}$"}],"unevaluatedProperties":false}`, `"aaa"`)
	f.Add(`{"$schema":"http://json-schema.org/draft-07/schema#","dependencies":{"a":["b"],"b":{"not":{}}}}`, `{"a":1}`)
	f.Add(`{"if":{"minProperties":1},"then":{"propertyNames":{"maxLength":1}},"else":false}`, `{}`)
	f.Add(`{"multipleOf":1e-300,"uniqueItems":true,"contains":{"const":1e300}}`, `[1,1.0,1e0]`)
	known := formats()
	f.Fuzz(func(t *testing.T, schema, instance string) {
		l := strictjson.Default()
		l.Bytes = 1 << 16
		if strictjson.Validate([]byte(schema), l) != nil || strictjson.Validate([]byte(instance), l) != nil {
			return
		}
		v, err := value([]byte(instance))
		if err != nil {
			return
		}

		open, err := compile([]byte(schema), false, known)
		if err != nil {
			return
		}
		closed, err := compile([]byte(schema), true, known)
		if err != nil {
			t.Fatalf("it compiles open and not closed: %v", err)
		}
		loose, strict := open.check(v), closed.check(v)
		// What a schema rules out (not, if, oneOf) turns round under closing.
		turns := strings.Contains(schema, `not`) || strings.Contains(schema, "if") || strings.Contains(schema, "oneOf") ||
			strings.Contains(schema, "contains") || strings.Contains(schema, "Contains") || strings.Contains(schema, `\u`)
		if loose != nil && strict == nil && !turns {
			t.Errorf("closing allows what was refused: %v", loose)
		}
	})
}
