package cedar

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	cedarschema "github.com/cedar-policy/cedar-go/x/exp/schema"
	schema "github.com/cedar-policy/cedar-go/x/exp/schema/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

const namespace types.Path = "Munjigi"

func bare(t types.EntityType) schema.Ident {
	return schema.Ident(strings.TrimPrefix(string(t), string(namespace)+"::"))
}

func refs(list []types.EntityType) []schema.EntityTypeRef {
	out := make([]schema.EntityTypeRef, len(list))
	for i, t := range list {
		out[i] = schema.EntityTypeRef(t)
	}
	return out
}

func needed(t schema.IsType) schema.Attribute { return schema.Attribute{Type: t} }

// principalShape is every attribute of a principal. Claims are whatever an
// issuer says, so no expression about one is shown to the validator.
func principalShape() schema.RecordType {
	texts := needed(schema.Set(schema.String()))
	text := needed(schema.String())
	return schema.RecordType{
		"issuer": text, "subject": text, "client": text, "kind": text, "tenant": text, "actor": text, attrACR: text,
		"scopes": texts, "roles": texts, "actors": texts, attrGroups: texts, attrAMR: texts,
		attrAuthTime: needed(schema.Long()), "groups_unknown": needed(schema.Bool()), attrClaims: needed(schema.RecordType{}),
	}
}

// resourceShape is every attribute of a resource.
func resourceShape() schema.RecordType {
	return schema.RecordType{"server": needed(schema.String()), "name": needed(schema.String())}
}

// Schema is the Cedar schema of all requests in the human-readable form, for
// editors and other tools that know Cedar. Arguments are an empty record there,
// and may be missing: they differ from tool to tool, which a Cedar schema has no
// way to say.
func Schema() ([]byte, error) {
	return cedarschema.NewSchemaFromAST(schemaOf(nil)).MarshalCedar()
}

// one is requests of one action about one type of resource.
type one struct {
	action    string
	kind      types.EntityType
	takes     bool // arguments
	arguments shape
}

// schemaOf is the schema of requests of one action about one type of resource,
// or of all requests.
func schemaOf(only *one) *schema.Schema {
	ns := schema.Namespace{Entities: schema.Entities{}, Actions: schema.Actions{}}
	for _, t := range principalParents() {
		ns.Entities[bare(t)] = schema.Entity{}
	}
	for _, t := range principalTypes() {
		ns.Entities[bare(t)] = schema.Entity{ParentTypes: refs(principalParents()), Shape: principalShape()}
	}
	for _, t := range resourceTypes() {
		e := schema.Entity{Shape: resourceShape()}
		if t != typeServer {
			e.ParentTypes = refs([]types.EntityType{typeServer})
		}
		ns.Entities[bare(t)] = e
	}
	for _, a := range actions() {
		ns.Actions[types.String(a)] = schema.Action{}
	}
	for _, r := range rules() {
		for _, kind := range r.kinds {
			if only != nil && (kind != only.kind || r.action != only.action) {
				continue
			}
			context := schema.RecordType{
				contextMethod: needed(schema.String()), contextEra: needed(schema.String()), contextTime: needed(schema.Datetime()),
				contextAuthAge: needed(schema.Long()), contextAddress: {Type: schema.IPAddr(), Optional: true},
			}
			applies := &schema.AppliesTo{Principals: refs(principalTypes()), Resources: refs([]types.EntityType{kind}), Context: context}
			switch before := ns.Actions[types.String(r.action)].AppliesTo; {
			case only != nil && only.takes:
				context[contextArguments] = needed(only.arguments.cedarType())
			case only == nil && (r.action == actionCall || r.action == actionGet):
				context[contextArguments] = schema.Attribute{Type: schema.RecordType{}, Optional: true}
				fallthrough
			case only == nil && before != nil:
				if before != nil {
					applies.Resources = append(applies.Resources, before.Resources...)
				}
			}
			slices.Sort(applies.Resources)
			applies.Resources = slices.Compact(applies.Resources)
			ns.Actions[types.String(r.action)] = schema.Action{AppliesTo: applies}
		}
	}
	return &schema.Schema{Namespaces: schema.Namespaces{namespace: ns}}
}

// validatorOf judges policies by their types, strictly.
func validatorOf(of one) (*validate.Validator, error) {
	resolved, err := cedarschema.NewSchemaFromAST(schemaOf(&of)).Resolve()
	if err != nil {
		return nil, err
	}
	return validate.New(resolved), nil
}
