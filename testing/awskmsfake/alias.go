package awskmsfake

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"
)

type alias struct {
	name    string
	target  *key
	created time.Time
}

func (c *call) aliasARN(name string) string {
	return "arn:aws:kms:" + c.region + ":" + Account + ":" + name
}

var aliasForm = regexp.MustCompile(`^alias/[a-zA-Z0-9/_-]+$`)

// checkAlias holds a name to its form (API_CreateAlias); alias/aws/ is for AWS's own keys.
func checkAlias(name string) *apiError {
	if !aliasForm.MatchString(name) || len(name) > 256 || strings.HasPrefix(name, "alias/aws/") {
		return refuse("InvalidAliasNameException", "%q is no name for an alias", name)
	}
	return nil
}

// aliased checks name, target and rights: on the alias and on the key (page: alias-access).
func (c *call) aliased(in *input) (*key, *apiError) {
	if err := checkAlias(in.AliasName); err != nil {
		return nil, err
	}
	if err := c.may(c.op, c.aliasARN(in.AliasName), nil); err != nil {
		return nil, err
	}
	k, err := c.find(in.TargetKeyID)
	if err != nil {
		return nil, err
	}
	return k, k.needs(enabled, disabled, pendingImport)
}

func (c *call) createAlias(in *input) (any, *apiError) { // API_CreateAlias
	k, err := c.aliased(in)
	if err != nil {
		return nil, err
	}
	at := place{c.region, in.AliasName}
	if c.aliases[at] != nil {
		return nil, refuse("AlreadyExistsException", "An alias with the name %s already exists", c.aliasARN(in.AliasName))
	}
	c.aliases[at] = &alias{name: in.AliasName, target: k, created: c.now}
	return nil, nil
}

func (c *call) updateAlias(in *input) (any, *apiError) { // API_UpdateAlias
	k, err := c.aliased(in)
	if err != nil {
		return nil, err
	}
	a := c.aliases[place{c.region, in.AliasName}]
	if a == nil {
		return nil, refuse("NotFoundException", "Alias %s is not found.", c.aliasARN(in.AliasName))
	}
	a.target = k
	return nil, nil
}

func (c *call) deleteAlias(in *input) (any, *apiError) { // API_DeleteAlias
	if err := c.may("DeleteAlias", c.aliasARN(in.AliasName), nil); err != nil {
		return nil, err
	}
	at := place{c.region, in.AliasName}
	if c.aliases[at] == nil {
		return nil, refuse("NotFoundException", "Alias %s is not found.", c.aliasARN(in.AliasName))
	}
	delete(c.aliases, at)
	return nil, nil
}

func (c *call) listAliases(in *input) (any, *apiError) { // API_ListAliases
	if err := c.may("ListAliases", "*", nil); err != nil {
		return nil, err
	}
	var all []*alias
	for at, a := range c.aliases {
		if at.region == c.region && (in.KeyID == "" || a.target.id == in.KeyID || a.target.arn() == in.KeyID) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b *alias) int { return cmp.Compare(a.name, b.name) })
	some, out, err := pageOf(all, in, 50, 100)
	if err != nil {
		return nil, err
	}
	entries := []object{}
	for _, a := range some {
		entries = append(entries, object{
			"AliasName": a.name, "AliasArn": c.aliasARN(a.name), "TargetKeyId": a.target.id, "CreationDate": seconds(a.created),
		})
	}
	out["Aliases"] = entries
	return out, nil
}
