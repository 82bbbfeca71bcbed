package cedar

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Tags of what Cedar has no type for. A member whose own name begins with two
// underscores gets two more, so that no input can forge a tag.
const (
	reserved  = "__"
	tagNull   = "__null"   // {"__null": true}
	tagNumber = "__number" // {"__number": "-15e-1"}: digits without zeros at the ends, e, exponent
	tagLength = "__length" // {"__length": 2, "0": …, "1": …}
)

// maxNumber bounds the text of one number.
const maxNumber = 128

// DefaultLimits bounds the arguments and the claims that a policy may look
// at: 4 MiB, depth 32, 10,000 members and elements.
func DefaultLimits() strictjson.Limits {
	return strictjson.Limits{Bytes: 4 << 20, Depth: 32, Members: 10_000}
}

var errNotObject = errors.New("not a JSON object")

// record maps a JSON object to a Cedar record. Two objects have equal records
// exactly if they are equal as JSON values, numbers by their value: objects
// become records, strings strings, booleans booleans, numbers that are 64-bit
// integers Longs (1e2 is 100), other numbers and null tagged records, and
// arrays records by index with a length.
//
// It refuses what is outside the limits, and a number that a reader with
// doubles takes for another sort of number: 100.00000000000000001 is 100 to
// it, and 1e999 is infinite.
func record(raw []byte, l strictjson.Limits) (types.Record, error) {
	if err := strictjson.Validate(raw, l); err != nil {
		return types.Record{}, err
	}
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return types.Record{}, errNotObject
	}
	return object(raw)
}

func object(raw []byte) (types.Record, error) {
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return types.Record{}, err
	}
	m := make(types.RecordMap, len(o))
	for _, member := range o {
		name := member.Name
		if strings.HasPrefix(name, reserved) {
			name = reserved + name
		}
		v, err := value(member.Raw)
		if err != nil {
			return types.Record{}, err
		}
		m[types.String(name)] = v
	}
	return types.NewRecord(m), nil
}

// value maps one validated JSON value. Its recursion is bounded by the limits
// that the text was validated with.
func value(raw []byte) (types.Value, error) {
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeObject:
		return object(raw)
	case strictjson.TypeArray:
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			return nil, err
		}
		m := make(types.RecordMap, len(elems)+1)
		m[tagLength] = types.Long(len(elems))
		for i, e := range elems {
			v, err := value(e)
			if err != nil {
				return nil, err
			}
			m[types.String(strconv.Itoa(i))] = v
		}
		return types.NewRecord(m), nil
	case strictjson.TypeString:
		s, err := strictjson.String(raw)
		return types.String(s), err
	case strictjson.TypeBool:
		return types.Boolean(string(raw) == "true"), nil
	case strictjson.TypeNull:
		return types.NewRecord(types.RecordMap{tagNull: types.True}), nil
	case strictjson.TypeNumber:
		return number(string(raw))
	}
	return nil, errors.New("not a JSON value")
}

// number maps a number of valid grammar by its value.
func number(text string) (types.Value, error) {
	if len(text) > maxNumber {
		return nil, fmt.Errorf("a number has more than %d characters", maxNumber)
	}
	rest, negative := strings.CutPrefix(text, "-")
	mantissa, exponent := rest, 0
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		e, err := strconv.Atoi(rest[i+1:])
		if err != nil || e > 10_000 || e < -10_000 {
			return nil, errors.New("a number's exponent is too large")
		}
		mantissa, exponent = rest[:i], e
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return types.Long(0), nil
	}
	short := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(short)
	sign := ""
	if negative {
		sign = "-"
	}
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return nil, errors.New("a number is larger than a double can be")
	case exponent < 0 && f == math.Trunc(f):
		return nil, errors.New("a number has a fraction that a double does not hold")
	case exponent >= 0 && len(short)+exponent <= 19:
		if n, err := strconv.ParseInt(sign+short+strings.Repeat("0", exponent), 10, 64); err == nil {
			return types.Long(n), nil
		}
	}
	exact := types.String(sign + short + "e" + strconv.Itoa(exponent))
	return types.NewRecord(types.RecordMap{tagNumber: exact}), nil
}
