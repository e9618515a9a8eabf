package awskmsfake

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

type tag struct{ TagKey, TagValue string }

// The limits of tags (page: tagging-keys; API_Tag).
const mostTags, mostTagKey, mostTagValue = 50, 128, 256

// tagForm is the alphabet of keys and values: letters, digits, spaces and _ . : / = + - @.
var tagForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// checkTags answers what is wrong with tags that are added to others.
func checkTags(tags []tag, others map[string]string) *apiError {
	all := maps.Clone(others)
	if all == nil {
		all = map[string]string{}
	}
	for _, t := range tags {
		key, value := utf8.RuneCountInString(t.TagKey), utf8.RuneCountInString(t.TagValue)
		switch {
		case key < 1 || key > mostTagKey:
			return refuse("ValidationException", "a tag's key has %d characters, and 1 to %d are allowed", key, mostTagKey)
		case value > mostTagValue:
			return refuse("ValidationException", "a tag's value has %d characters, and 0 to %d are allowed", value, mostTagValue)
		case strings.HasPrefix(strings.ToLower(t.TagKey), "aws:"):
			return refuse("TagException", "the prefix aws: is AWS's own")
		case !tagForm.MatchString(t.TagKey) || !tagForm.MatchString(t.TagValue):
			return refuse("TagException", "a tag has a character that is not allowed")
		}
		all[t.TagKey] = t.TagValue
	}
	if len(all) > mostTags {
		return refuse("LimitExceededException", "a key has at most %d tags", mostTags)
	}
	return nil
}

// taggable answers a key whose tags may change: not one whose deletion is pending (page: key-state).
func (c *call) taggable(in *input) (*key, *apiError) {
	k, err := c.find(in.KeyID)
	if err != nil {
		return nil, err
	}
	return k, k.needs(enabled, disabled, pendingImport)
}

func (c *call) tagResource(in *input) (any, *apiError) { // API_TagResource: all or none
	k, err := c.taggable(in)
	if err == nil {
		err = checkTags(in.Tags, k.tags)
	}
	if err != nil {
		return nil, err
	}
	for _, t := range in.Tags {
		k.tags[t.TagKey] = t.TagValue
	}
	return nil, nil
}

func (c *call) untagResource(in *input) (any, *apiError) { // API_UntagResource: a key that is not there is no error
	k, err := c.taggable(in)
	if err != nil {
		return nil, err
	}
	for _, name := range in.TagKeys {
		delete(k.tags, name)
	}
	return nil, nil
}

func (c *call) listResourceTags(in *input) (any, *apiError) { // API_ListResourceTags
	k, err := c.find(in.KeyID)
	if err != nil {
		return nil, err
	}
	names, out, err := pageOf(slices.Sorted(maps.Keys(k.tags)), in, 50, 50)
	if err != nil {
		return nil, err
	}
	tags := []tag{}
	for _, name := range names {
		tags = append(tags, tag{name, k.tags[name]})
	}
	out["Tags"] = tags
	return out, nil
}
