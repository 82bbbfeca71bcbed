package schema

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Bounds of numbers. Beyond them the exact arithmetic of the validator would
// need megabytes for a few bytes of input: 1e999999999 is a number too.
const (
	maxDigits   = 1000
	maxExponent = 1000
)

// maxShort is the size in bytes up to which a string is always read.
const maxShort = 256

var errNumber = errors.New("a number has more digits or a larger exponent than can be checked")

// value turns validated JSON into what the validator takes. It reads by the
// same reader that judged the message, so that there is no second opinion of
// what the bytes say, and numbers stay text.
func value(raw []byte) (any, error) { return valueWith(raw, "") }

// valueWith puts standIn, if it is not empty, in the place of strings that are
// surely longer: where a schema does not look into strings, a document in the
// arguments need not be copied to be told that it is one.
func valueWith(raw []byte, standIn string) (any, error) {
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeObject:
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			return nil, err
		}
		m := make(map[string]any, len(o))
		for _, e := range o {
			if m[e.Name], err = valueWith(e.Raw, standIn); err != nil {
				return nil, err
			}
		}
		return m, nil
	case strictjson.TypeArray:
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			return nil, err
		}
		a := make([]any, len(elems))
		for i, e := range elems {
			if a[i], err = valueWith(e, standIn); err != nil {
				return nil, err
			}
		}
		return a, nil
	case strictjson.TypeString:
		// One character takes at most six bytes: \uXXXX.
		if standIn != "" && len(raw) > maxShort && (len(raw)-2)/6 > len(standIn) {
			return standIn, nil
		}
		return strictjson.String(raw)
	case strictjson.TypeNumber:
		return number(raw)
	case strictjson.TypeBool:
		return string(raw) == "true", nil
	case strictjson.TypeNull:
		return nil, nil
	}
	return nil, errors.New("this is not JSON")
}

func number(raw []byte) (any, error) {
	digits, exp := len(raw), 0
	for i, c := range raw {
		if c == 'e' || c == 'E' {
			n, err := strconv.Atoi(string(raw[i+1:]))
			if err != nil {
				return nil, errNumber
			}
			digits, exp = i, n
			break
		}
	}
	if digits > maxDigits || exp > maxExponent || exp < -maxExponent {
		return nil, errNumber
	}
	return json.Number(raw), nil
}
