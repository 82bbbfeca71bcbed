package demo

import (
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/upstream"
)

// unit is one unit: value × factor + offset is the amount in the kind's first
// unit. Both are written as exact fractions.
type unit struct{ name, kind, text, factor, offset string }

// units are grouped by kind; the first of a kind is its measure.
var units = []unit{
	{"m", "length", "metre", "1", "0"},
	{"km", "length", "kilometre", "1000", "0"},
	{"cm", "length", "centimetre", "0.01", "0"},
	{"mm", "length", "millimetre", "0.001", "0"},
	{"mi", "length", "mile", "1609.344", "0"},
	{"yd", "length", "yard", "0.9144", "0"},
	{"ft", "length", "foot", "0.3048", "0"},
	{"in", "length", "inch", "0.0254", "0"},
	{"g", "mass", "gram", "1", "0"},
	{"kg", "mass", "kilogram", "1000", "0"},
	{"lb", "mass", "pound", "453.59237", "0"},
	{"oz", "mass", "ounce", "28.349523125", "0"},
	{"s", "time", "second", "1", "0"},
	{"min", "time", "minute", "60", "0"},
	{"h", "time", "hour", "3600", "0"},
	{"d", "time", "day", "86400", "0"},
	{"K", "temperature", "kelvin", "1", "0"},
	{"C", "temperature", "degree Celsius", "1", "273.15"},
	{"F", "temperature", "degree Fahrenheit", "5/9", "45967/180"},
	{"B", "data", "byte", "1", "0"},
	{"kB", "data", "kilobyte", "1000", "0"},
	{"MB", "data", "megabyte", "1000000", "0"},
	{"KiB", "data", "kibibyte", "1024", "0"},
	{"MiB", "data", "mebibyte", "1048576", "0"},
}

// findUnit is exact: mB and MB are not the same.
func findUnit(name string) (unit, bool) {
	for _, u := range units {
		if u.name == name {
			return u, true
		}
	}
	return unit{}, false
}

// unitNames returns the names that begin with prefix, in the table's order.
func unitNames(prefix string) []string {
	var out []string
	for _, u := range units {
		if strings.HasPrefix(u.name, prefix) {
			out = append(out, u.name)
		}
	}
	return out
}

func convertUnits(args *arguments) (upstream.Answer, error) {
	value, err := args.number("value")
	if err != nil {
		return upstream.Answer{}, err
	}
	from, err := args.unit("from")
	if err != nil {
		return upstream.Answer{}, err
	}
	to, err := args.unit("to")
	if err == nil {
		err = args.done()
	}
	switch {
	case err != nil:
		return upstream.Answer{}, err
	case from.kind != to.kind:
		return upstream.Answer{}, wrong(from.name, " is a unit of ", from.kind, ", ", to.name, " one of ", to.kind)
	}
	out, ok := convert(value, from, to)
	if !ok {
		return upstream.Answer{}, wrong("the result is too large to write down")
	}
	return answerText(float(value)+" "+from.name+" = "+float(out)+" "+to.name, strictjson.Object{}.
		With("value", []byte(float(out))).With("unit", quote(to.name)), false), nil
}

// convert reckons in fractions, so that 32 F is 0 C. value is finite; ok is
// false when the result is not.
func convert(value float64, from, to unit) (out float64, ok bool) {
	r, ok := new(big.Rat).SetString(strconv.FormatFloat(value, 'g', -1, 64))
	if !ok {
		return 0, false
	}
	r.Mul(r, from.ratio(from.factor))
	r.Add(r, from.ratio(from.offset))
	r.Sub(r, to.ratio(to.offset))
	r.Quo(r, to.ratio(to.factor))
	out, _ = r.Float64()
	return out, !math.IsInf(out, 0)
}

// ratio reads one of the table's fractions; TestUnits reads them all.
func (unit) ratio(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return new(big.Rat)
	}
	return r
}

func (a *arguments) unit(name string) (unit, error) {
	text, err := a.text(name, 16, true)
	if err != nil {
		return unit{}, err
	}
	u, ok := findUnit(text)
	if !ok {
		return unit{}, wrong(name, ": there is no unit ", show(text), "; known are ", strings.Join(unitNames(""), " "))
	}
	return u, nil
}

// float writes at most twelve digits, as JSON allows.
func float(f float64) string {
	return strconv.FormatFloat(f, 'g', 12, 64)
}
