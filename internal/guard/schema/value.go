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

var errNumber = errors.New("a number has more digits or a larger exponent than can be checked")

// value turns validated JSON into what the validator takes. It reads by the
// same reader that judged the message, so that there is no second opinion of
// what the bytes say, and numbers stay text.
func value(raw []byte) (any, error) {
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeObject:
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			return nil, err
		}
		m := make(map[string]any, len(o))
		for _, e := range o {
			if m[e.Name], err = value(e.Raw); err != nil {
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
			if a[i], err = value(e); err != nil {
				return nil, err
			}
		}
		return a, nil
	case strictjson.TypeString:
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
