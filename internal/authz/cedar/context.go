package cedar

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Members of the context.
const (
	contextMethod    = "method"    // String: the MCP method
	contextArguments = "arguments" // Record: of a tool or prompt
	contextEra       = "era"       // String: modern or legacy
	contextAddress   = "address"   // ipaddr of the connection's other end; absent without a network
	contextTime      = "time"      // datetime
	contextAuthAge   = "auth_age"  // Long: seconds since the caller signed in; the greatest when nobody said
)

func contextNames() []types.String {
	return []types.String{contextAddress, contextArguments, contextAuthAge, contextEra, contextMethod, contextTime}
}

func contextWords() string {
	var words []string
	for _, n := range contextNames() {
		words = append(words, string(n))
	}
	return strings.Join(words, ", ")
}

// contextOf makes what policies ask the context for, and no more of it.
func contextOf(found []*entry, r rule, l strictjson.Limits, q authz.Query) (types.RecordMap, error) {
	fields := types.RecordMap{}
	asked := func(name types.String) bool {
		return slices.ContainsFunc(found, func(e *entry) bool { return e.reads(name) })
	}
	now := q.Time
	if now.IsZero() {
		now = time.Now()
	}
	if asked(contextMethod) {
		fields[contextMethod] = types.String(q.Target.Method)
	}
	if asked(contextEra) {
		fields[contextEra] = types.String(q.Asked.Era)
	}
	if a := q.Asked.Address; a.IsValid() && asked(contextAddress) {
		ip, err := types.ParseIPAddr(a.String())
		if err != nil {
			return nil, err
		}
		fields[contextAddress] = ip
	}
	if asked(contextTime) {
		fields[contextTime] = types.NewDatetime(now)
	}
	if asked(contextAuthAge) {
		age := types.Long(math.MaxInt64)
		if at := q.Principal.Identity().AuthTime; at > 0 {
			age = types.Long(max(0, now.Unix()-at))
		}
		fields[contextAuthAge] = age
	}
	if r.arguments && asked(contextArguments) {
		args := q.Arguments
		if args == nil {
			args = []byte("{}")
		}
		v, err := record(args, l)
		if err != nil {
			return nil, err
		}
		fields[contextArguments] = v
	}
	return fields, nil
}
