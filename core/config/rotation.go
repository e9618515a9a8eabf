package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/keyrotor/keyrotor/core/policy"
	"github.com/keyrotor/keyrotor/core/provider"
)

// policyAttributes and policyBlocks may stand in a rotation block, in any and in all.
var (
	policyAttributes = []provider.Attribute{
		{Name: "max_age", Type: provider.String},
		{Name: "max_uses", Type: provider.Int},
	}
	policyBlocks = []string{"schedule", "any", "all"}
)

const policyNames = "max_age, max_uses, schedule, any or all"

// rotation reads the policy of a key. It answers nil if there is none, or one that is
// wrong. A key's versions have half of hardLimit uses before they are rotated anyway.
func (l *loader) rotation(key scope, blocks hcl.Blocks, hardLimit uint64) policy.Policy {
	b := l.single(key, blocks)
	if b == nil {
		return nil
	}
	s := nested(key, b, "")
	before := len(*l.found)
	content := l.found.content(s, policySchema([]string{"jitter"}, []string{"blackout"}))
	r := ruleReader{loader: l, half: hardLimit/2 + hardLimit%2}
	parts := r.parts(s, content)
	jitter := parsed(l, s, content, "jitter", policy.ParseAge)
	windows := l.blackouts(s, content.Blocks.OfType("blackout"))
	if len(parts) != 1 || len(*l.found) > before {
		l.oneOf(s, parts, len(*l.found) > before)
		return nil
	}
	rule := parts[0].policy
	if jitter > 0 {
		delayed, err := policy.NewJitter(rule, jitter)
		if err != nil {
			l.wrong(s, content.Attributes["jitter"], err)
			return nil
		}
		rule = delayed
	}
	if len(windows) > 0 {
		held, err := policy.NewBlackout(rule, windows...)
		if err != nil {
			l.found.add(content.Blocks.OfType("blackout")[0].DefRange, s.attribute("blackout"), err.Error()+s.in(), "")
			return nil
		}
		rule = held
	}
	return rule
}

// part is a policy in a block, by the name that it has there.
type part struct {
	name   string
	policy policy.Policy
}

// oneOf reports a rotation block with several policies, or none. What is there and
// wrong has been reported.
func (l *loader) oneOf(s scope, parts []part, reported bool) {
	switch {
	case len(parts) > 1:
		names := make([]string, len(parts))
		for i, p := range parts {
			names[i] = p.name
		}
		l.found.add(s.at, s.path, fmt.Sprintf("%s has %d policies side by side: %s", s.title, len(parts), strings.Join(names, ", ")),
			"put them into any { } to rotate when one of them is due, or into all { } to rotate when all are")
	case len(parts) == 0 && !reported:
		l.found.add(s.at, s.path, s.title+" holds no policy", "add "+policyNames)
	}
}

// policySchema is that of a block that holds policies, and what more it may hold.
func policySchema(attributes, blocks []string) *hcl.BodySchema {
	out := &hcl.BodySchema{}
	for _, a := range policyAttributes {
		out.Attributes = append(out.Attributes, hcl.AttributeSchema{Name: a.Name})
	}
	for _, name := range attributes {
		out.Attributes = append(out.Attributes, hcl.AttributeSchema{Name: name})
	}
	for _, b := range append(policyBlocks, blocks...) {
		out.Blocks = append(out.Blocks, hcl.BlockHeaderSchema{Type: b})
	}
	return out
}

// ruleReader reads policies, which nest.
type ruleReader struct {
	*loader
	// half of the hard limit: the most that max_uses may be.
	half uint64
}

// parts reads the policies of a block. Those that are wrong are reported, and left
// out, so that more of what is wrong shows at once.
func (r ruleReader) parts(s scope, content *hcl.BodyContent) []part {
	var parts []part
	add := func(name string, p policy.Policy, err error, a *hcl.Attribute) {
		if err != nil {
			r.wrong(s, a, err)
			return
		}
		parts = append(parts, part{name, p})
	}
	if age := parsed(r.loader, s, content, "max_age", policy.ParseAge); age > 0 {
		p, err := policy.NewMaxAge(age)
		add("max_age", p, err, content.Attributes["max_age"])
	}
	if a := content.Attributes["max_uses"]; a != nil {
		if uses, ok := r.attribute(s, policyAttributes[1], a).(int64); ok {
			p, err := r.maxUses(uses)
			add("max_uses", p, err, a)
		}
	}
	for _, b := range content.Blocks {
		var p policy.Policy
		switch b.Type {
		case "schedule":
			p = r.schedule(nested(s, b, ""))
		case "any", "all":
			p = r.composite(nested(s, b, ""), b.Type)
		default:
			continue
		}
		if p != nil {
			parts = append(parts, part{b.Type, p})
		}
	}
	return parts
}

func (r ruleReader) maxUses(uses int64) (policy.Policy, error) {
	if uses < 1 {
		return nil, errors.New("must be above zero")
	}
	if uint64(uses) > r.half {
		return nil, fmt.Errorf("is above %d, half of the key's hard limit, at which every key is rotated anyway", r.half)
	}
	return policy.NewMaxUses(uint64(uses))
}

func (r ruleReader) composite(s scope, kind string) policy.Policy {
	before := len(*r.found)
	content := r.found.content(s, policySchema(nil, nil))
	parts := r.parts(s, content)
	if len(*r.found) > before {
		return nil
	}
	if len(parts) == 0 {
		r.found.add(s.at, s.path, s.title+" holds no policy", "add "+policyNames)
		return nil
	}
	policies := make([]policy.Policy, len(parts))
	for i, p := range parts {
		policies[i] = p.policy
	}
	if kind == "any" {
		p, _ := policy.NewAny(policies...) // has parts
		return p
	}
	p, _ := policy.NewAll(policies...) // has parts
	return p
}

// wrong reports what a constructor or a parser says of an attribute. A value from
// outside may be secret, so that nothing is said about it.
func (l *loader) wrong(s scope, a *hcl.Attribute, err error) {
	why := err.Error()
	if value, evalErr := l.eval(a.Expr); evalErr == nil && value.outside {
		why = "what env() or file() answered does not fit here"
	}
	l.found.add(a.Expr.Range(), s.attribute(a.Name), fmt.Sprintf("attribute %q%s: %s", a.Name, s.in(), why), "")
}

// parsed reads an attribute that is a text of a form of its own. It answers the zero
// value if there is none, or none that can be read.
func parsed[T any](l *loader, s scope, content *hcl.BodyContent, name string, parse func(string) (T, error)) (value T) {
	a := content.Attributes[name]
	if a == nil {
		return value
	}
	text, ok := l.attribute(s, provider.Attribute{Name: name, Type: provider.String}, a).(string)
	if !ok {
		return value
	}
	value, err := parse(text)
	if err != nil {
		l.wrong(s, a, err)
	}
	return value
}

// single answers the one block there may be of a type.
func (l *loader) single(s scope, blocks hcl.Blocks) *hcl.Block {
	for _, b := range blocks[min(1, len(blocks)):] {
		l.found.add(b.DefRange, s.attribute(b.Type), fmt.Sprintf("block %q%s stands twice", b.Type, s.in()),
			"the first is at "+place(blocks[0].DefRange))
	}
	if len(blocks) == 0 {
		return nil
	}
	return blocks[0]
}

// zone reads a time zone. The machine's own is refused: another process on the store
// may run on a machine with another.
func zone(name string) (*time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q: write a name of the IANA database, such as \"UTC\" or \"Europe/Berlin\"", name)
	}
	return loc, nil
}
