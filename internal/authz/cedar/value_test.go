package cedar

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

func tagged(tag types.String, v types.Value) types.Record {
	return types.NewRecord(types.RecordMap{tag: v})
}

func TestValues(t *testing.T) {
	t.Parallel()
	num := func(s types.String) types.Value { return tagged(tagNumber, s) }
	for in, want := range map[string]types.Value{
		`"a\u0000b"`:           types.String("a\x00b"),
		`true`:                 types.True,
		`null`:                 tagged(tagNull, types.True),
		`0`:                    types.Long(0),
		`-0`:                   types.Long(0),
		`0.000e7`:              types.Long(0),
		`100`:                  types.Long(100),
		`1e2`:                  types.Long(100),
		`100.0`:                types.Long(100),
		`1000E-1`:              types.Long(100),
		`-9223372036854775808`: types.Long(-1 << 63),
		`9223372036854775807`:  types.Long(1<<63 - 1),
		`9223372036854775808`:  num("9223372036854775808e0"),
		`1e19`:                 num("1e19"),
		`1.5`:                  num("15e-1"),
		`-1.50`:                num("-15e-1"),
		`[]`:                   tagged(tagLength, types.Long(0)),
		`[1,"1"]`:              types.NewRecord(types.RecordMap{tagLength: types.Long(2), "0": types.Long(1), "1": types.String("1")}),
		`{"a":{"":1}}`:         tagged("a", tagged("", types.Long(1))),
		`{"__null":true}`:      tagged("____null", types.True),
		`{"__length":0}`:       tagged("____length", types.Long(0)),
		`{"__entity":1}`:       tagged("____entity", types.Long(1)),
		`{"_x":1,"____null":2}`: types.NewRecord(types.RecordMap{
			"_x": types.Long(1), "______null": types.Long(2)}),
	} {
		got, err := record([]byte(`{"v":`+in+`}`), DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if !got.Equal(tagged("v", want)) {
			t.Errorf("%s: got %v want %v", in, got, want)
		}
	}
}

func TestWhatIsOutsideTheBoundsIsRefused(t *testing.T) {
	t.Parallel()
	l := strictjson.Limits{Bytes: 200, Depth: 4, Members: 5}
	for _, in := range []string{
		``, `1`, `[]`, `null`, `{"a":1,"a":2}`, `{"a":1}x`, `{"a":"\ud800"}`,
		`{"a":[[[[]]]]}`,
		`{"a":[1,2,3,4,5]}`,
		`{"a":"` + strings.Repeat("x", 200) + `"}`,
		`{"a":1e999}`, `{"a":-1e999}`, `{"a":1e-999}`, `{"a":1e99999999999999999999}`, `{"a":0e99999}`,
		`{"a":100.00000000000000000001}`, `{"a":0.9999999999999999999999}`, `{"a":9007199254740993.5}`,
		`{"a":` + strings.Repeat("1", maxNumber+1) + `}`,
	} {
		if v, err := record([]byte(in), l); err == nil {
			t.Errorf("%s became %v", in, v)
		}
	}
	if _, err := record([]byte(`{}`), strictjson.Limits{}); err == nil {
		t.Error("zero limits accept")
	}
}

// plain is the JSON value as the standard library reads it, with numbers by
// their exact value, as the second opinion on equality.
func plain(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			x[k] = plain(e)
		}
	case []any:
		for i, e := range x {
			x[i] = plain(e)
		}
	case json.Number:
		r, ok := new(big.Rat).SetString(x.String())
		if !ok {
			return nil
		}
		return "number " + r.RatString()
	case string:
		return "string " + x
	case nil:
		return "null"
	}
	return v
}

func reading(t *testing.T, b []byte) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	out, err := json.Marshal(plain(v))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func FuzzRecordIsInjective(f *testing.F) {
	for _, pair := range [][2]string{
		{`{"a":null}`, `{"a":{"__null":true}}`},
		{`{"a":1.5}`, `{"a":{"__number":"15e-1"}}`},
		{`{"a":[1]}`, `{"a":{"__length":1,"0":1}}`},
		{`{"a":[1]}`, `{"a":{"____length":1,"0":1}}`},
		{`{"a":1}`, `{"a":1.0}`},
		{`{"a":1e2}`, `{"a":100}`},
		{`{"a":"1"}`, `{"a":1}`},
		{`{"__a":1}`, `{"____a":1}`},
		{`{"a":{}}`, `{"a":[]}`},
		{`{"a":9223372036854775807}`, `{"a":9223372036854775808}`},
		{`{"a":"\u00e9"}`, `{"a":"é"}`},
		{`{"a":1e-7}`, `{"a":0.0000001}`},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		l := strictjson.Limits{Bytes: 1000, Depth: 8, Members: 50}
		x, errA := record(a, l)
		y, errB := record(b, l)
		if errA != nil || errB != nil {
			return
		}
		if same := reading(t, a) == reading(t, b); same != x.Equal(y) {
			t.Errorf("equal as JSON: %v, equal as Cedar: %v\n%s\n%s\n%v\n%v", same, !same, a, b, x, y)
		}
	})
}
