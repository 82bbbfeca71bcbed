package cedar

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
)

// Attributes that the code names more than once.
const (
	attrClaims   = "claims"
	attrGroups   = "groups"
	attrACR      = "acr"
	attrAMR      = "amr"
	attrAuthTime = "auth_time"
)

// caller is the principal of one question, as Cedar sees it.
type caller struct {
	id     call.Identity
	entity types.Entity // without attributes
	limits strictjson.Limits
}

func newCaller(p call.Principal, l strictjson.Limits) (caller, error) {
	id := p.Identity()
	uid, err := principalUID(id)
	if err != nil {
		return caller{}, err
	}
	parents := make([]types.EntityUID, 0, len(id.Groups)+len(id.Roles)+2)
	parents = append(parents, types.NewEntityUID(typeIssuer, types.String(id.Issuer)))
	add := func(t types.EntityType, names ...string) {
		for _, n := range names {
			if n != "" {
				parents = append(parents, types.NewEntityUID(t, within(id.Issuer, n)))
			}
		}
	}
	add(typeClient, id.Client)
	add(typeGroup, id.Groups...)
	add(typeRole, id.Roles...)
	return caller{id: id, limits: l, entity: types.Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...)}}, nil
}

// with returns the caller's entity with the attributes that policies ask for.
// For a list, how and when somebody signed in is unknown: signing in again
// changes it, so a tool that needs it is listed.
func (c caller) with(found []*entry, list bool) (types.Entity, error) {
	id, m := c.id, types.RecordMap{}
	set := func(name types.String, v func() types.Value) {
		if slices.ContainsFunc(found, func(e *entry) bool { return e.attributes[name] }) {
			m[name] = v()
		}
	}
	text := func(name types.String, s string) { set(name, func() types.Value { return types.String(s) }) }
	names := func(name types.String, l []string) { set(name, func() types.Value { return texts(l) }) }
	actors, actor := actorsOf(id), ""
	if len(actors) > 0 {
		actor = actors[0]
	}
	text("issuer", id.Issuer)
	text("subject", id.Subject)
	text("client", id.Client)
	text("kind", kindName(id.Kind))
	text("tenant", id.Tenant)
	names("scopes", id.Scopes)
	names("roles", id.Roles)
	names("actors", actors)
	text("actor", actor)
	names(attrGroups, id.Groups)
	set("groups_unknown", func() types.Value { return types.Boolean(id.GroupsUnknown) })
	if list {
		for _, name := range []types.String{attrACR, attrAMR, attrAuthTime} {
			set(name, func() types.Value { return eval.Variable(name) })
		}
	} else {
		text(attrACR, id.ACR)
		names(attrAMR, id.AMR)
		set(attrAuthTime, func() types.Value { return types.Long(id.AuthTime) })
	}
	var err error
	set(attrClaims, func() types.Value {
		var r types.Record
		r, err = claimsRecord(id.Claims, c.limits)
		return r
	})
	if err != nil {
		return types.Entity{}, err
	}
	e := c.entity
	e.Attributes = types.NewRecord(m)
	return e, nil
}

// actorsOf names actors as groups and clients are named: issuer|subject. One that
// is no key keeps a text that no policy means by chance.
func actorsOf(id call.Identity) []string {
	out := make([]string, 0, len(id.Actors))
	for _, a := range id.Actors {
		name := "|" + a
		if issuer, subject, ok := call.SplitKey(a); ok {
			name = string(within(issuer, subject))
		}
		out = append(out, name)
	}
	return out
}

// claimsRecord leaves out what has an attribute of its own that a list does
// not look at, so that there is one way to ask for it.
func claimsRecord(raw []byte, l strictjson.Limits) (types.Record, error) {
	if len(raw) == 0 {
		return types.NewRecord(nil), nil
	}
	if err := strictjson.Validate(raw, l); err != nil {
		return types.Record{}, err
	}
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return types.Record{}, errNotObject
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return types.Record{}, err
	}
	return record(o.Without(attrACR, attrAMR, attrAuthTime).Append(nil), l)
}

func texts(list []string) types.Set {
	vs := make([]types.Value, len(list))
	for i, s := range list {
		vs[i] = types.String(s)
	}
	return types.NewSet(vs...)
}

func kindName(k call.Kind) string {
	if k == call.Person {
		return "user"
	}
	return k.String()
}

// targetEntity is what a call is about, with its server as parent.
func targetEntity(t types.EntityType, target call.Target) (types.Entity, error) {
	uid, err := targetUID(t, target)
	if err != nil {
		return types.Entity{}, err
	}
	e := types.Entity{UID: uid}
	name := ""
	if t != typeServer {
		name = target.Name
		e.Parents = types.NewEntityUIDSet(serverUID(target.Server))
	}
	e.Attributes = types.NewRecord(types.RecordMap{"server": types.String(target.Server), "name": types.String(name)})
	return e, nil
}

// two holds the entities of one question.
type two struct{ principal, resource types.Entity }

// Get implements types.EntityGetter.
func (t two) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid {
	case t.principal.UID:
		return t.principal, true
	case t.resource.UID:
		return t.resource, true
	}
	return types.Entity{}, false
}
