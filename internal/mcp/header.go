package mcp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// ErrHeaderValue marks a header value that the specification's encoding does
// not allow (2026-07-28, "Value Encoding").
var ErrHeaderValue = errors.New("header value is not valid")

// DecodeHeaderValue reads an Mcp-Name or Mcp-Param value: plain visible ASCII
// with inner spaces and tabs, or =?base64?…?= around padded standard Base64 of
// UTF-8.
func DecodeHeaderValue(v string) (string, error) {
	for i := 0; i < len(v); i++ {
		if c := v[i]; (c < 0x20 && c != '\t') || c > 0x7e {
			return "", ErrHeaderValue
		}
	}
	v = strings.Trim(v, " \t")
	if !isSentinel(v) {
		return v, nil
	}
	enc := v[len(headerBase64Prefix) : len(v)-len(headerBase64Suffix)]
	b, err := base64.StdEncoding.Strict().DecodeString(enc)
	if err != nil || !validUTF8(b) {
		return "", ErrHeaderValue
	}
	return string(b), nil
}

// EncodeHeaderValue writes s so that DecodeHeaderValue returns it.
func EncodeHeaderValue(s string) string {
	plain := !isSentinel(s) && strings.Trim(s, " \t") == s
	for i := 0; plain && i < len(s); i++ {
		if c := s[i]; (c < 0x20 && c != '\t') || c > 0x7e {
			plain = false
		}
	}
	if plain {
		return s
	}
	return headerBase64Prefix + base64.StdEncoding.EncodeToString([]byte(s)) + headerBase64Suffix
}

func isSentinel(v string) bool {
	return len(v) >= len(headerBase64Prefix)+len(headerBase64Suffix) &&
		strings.HasPrefix(v, headerBase64Prefix) && strings.HasSuffix(v, headerBase64Suffix)
}

func validUTF8(b []byte) bool { return strings.ToValidUTF8(string(b), "") == string(b) }

// ParamHeader is one x-mcp-header annotation of a tool's input schema.
type ParamHeader struct {
	// Name is the header's full name, Mcp-Param- and the annotation.
	Name string
	// Path is the chain of property names from the root of the arguments.
	Path []string
	// Type is "string", "integer" or "boolean".
	Type string
}

const maxAnnotations = 64

// ParamHeaders reads the x-mcp-header annotations of an input schema. An
// annotation that breaks a rule of "Schema Extension" makes the whole tool
// definition invalid and is an error that says which rule.
func ParamHeaders(schema []byte) ([]ParamHeader, error) {
	var found []ParamHeader
	if err := collect(schema, nil, true, &found); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, h := range found {
		k := strings.ToLower(h.Name)
		if seen[k] {
			return nil, fmt.Errorf("x-mcp-header %q is used twice", h.Name)
		}
		seen[k] = true
	}
	return found, nil
}

// collect walks a schema. reachable is false once the walk left the chain of
// properties keys.
func collect(schema []byte, path []string, reachable bool, out *[]ParamHeader) error {
	switch strictjson.TypeOf(schema) {
	case strictjson.TypeArray:
		elems, err := strictjson.SplitArray(schema)
		if err != nil {
			return err
		}
		for _, e := range elems {
			if err := collect(e, nil, false, out); err != nil {
				return err
			}
		}
		return nil
	case strictjson.TypeObject:
	default:
		return nil
	}
	o, err := strictjson.SplitObject(schema)
	if err != nil {
		return err
	}
	for _, m := range o {
		switch {
		case m.Name == "x-mcp-header":
			if !reachable || len(path) == 0 {
				return errors.New("x-mcp-header stands where no chain of properties leads")
			}
			h, err := annotation(o, m.Raw, path)
			if err != nil {
				return err
			}
			if *out = append(*out, h); len(*out) > maxAnnotations {
				return errors.New("too many x-mcp-header annotations")
			}
		case m.Name == "properties" && strictjson.TypeOf(m.Raw) == strictjson.TypeObject:
			props, err := strictjson.SplitObject(m.Raw)
			if err != nil {
				return err
			}
			for _, p := range props {
				if err := collect(p.Raw, append(path[:len(path):len(path)], p.Name), reachable, out); err != nil {
					return err
				}
			}
		case m.Name == "const" || m.Name == "enum" || m.Name == "default" || m.Name == "examples":
		default:
			if err := collect(m.Raw, nil, false, out); err != nil {
				return err
			}
		}
	}
	return nil
}

func annotation(o strictjson.Object, raw []byte, path []string) (ParamHeader, error) {
	if strictjson.TypeOf(raw) != strictjson.TypeString {
		return ParamHeader{}, errors.New("x-mcp-header is not a string")
	}
	name, err := strictjson.String(raw)
	if err != nil || !isToken(name) {
		return ParamHeader{}, errors.New("x-mcp-header is not a header name")
	}
	traw, _ := o.Get("type")
	typ := ""
	if strictjson.TypeOf(traw) == strictjson.TypeString {
		typ, _ = strictjson.String(traw)
	}
	switch typ {
	case "string", "integer", "boolean":
	default:
		return ParamHeader{}, fmt.Errorf("x-mcp-header %q is on a parameter that is not a string, integer or boolean", name)
	}
	return ParamHeader{Name: HeaderParamPrefix + name, Path: path, Type: typ}, nil
}

// isToken reports RFC 9110 section 5.6.2's 1*tchar.
func isToken(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			continue
		}
		if strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// Value returns the text that the annotated parameter has in the raw
// arguments object; ok is false when it is absent or null. An error means a
// value whose type does not fit the annotation.
func (h ParamHeader) Value(arguments []byte) (text string, ok bool, err error) {
	cur := arguments
	for _, step := range h.Path {
		if strictjson.TypeOf(cur) != strictjson.TypeObject {
			return "", false, nil
		}
		o, err := strictjson.SplitObject(cur)
		if err != nil {
			return "", false, err
		}
		next, found := o.Get(step)
		if !found {
			return "", false, nil
		}
		cur = next
	}
	switch strictjson.TypeOf(cur) {
	case strictjson.TypeNull:
		return "", false, nil
	case strictjson.TypeString:
		if h.Type != "string" {
			return "", false, fmt.Errorf("%s: the parameter is not of type %s", h.Name, h.Type)
		}
		s, err := strictjson.String(cur)
		return s, true, err
	case strictjson.TypeBool:
		if h.Type != "boolean" {
			return "", false, fmt.Errorf("%s: the parameter is not of type %s", h.Name, h.Type)
		}
		return string(cur), true, nil
	case strictjson.TypeNumber:
		if h.Type != "integer" {
			return "", false, fmt.Errorf("%s: the parameter is not of type %s", h.Name, h.Type)
		}
		n, ok := safeInteger(string(cur))
		if !ok {
			return "", false, fmt.Errorf("%s: the parameter is not an integer in the safe range", h.Name)
		}
		return strconv.FormatInt(n, 10), true, nil
	}
	return "", false, fmt.Errorf("%s: the parameter is not of type %s", h.Name, h.Type)
}

// Same reports whether a decoded header value equals the body's text, integers
// compared as numbers.
func (h ParamHeader) Same(header, body string) bool {
	if h.Type != "integer" {
		return header == body
	}
	n, ok := safeInteger(header)
	return ok && strconv.FormatInt(n, 10) == body
}

func safeInteger(s string) (int64, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, n >= -maxSafeInteger && n <= maxSafeInteger
	}
	if len(s) > 32 {
		return 0, false
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if e, err := strconv.Atoi(s[i+1:]); err != nil || e > 20 || e < -20 {
			return 0, false
		}
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	n := r.Num().Int64()
	return n, n >= -maxSafeInteger && n <= maxSafeInteger
}
