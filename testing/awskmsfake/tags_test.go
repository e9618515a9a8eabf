package awskmsfake

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestTags(t *testing.T) {
	s := newScene(t, Config{})
	key := s.key()
	tagWith := func(name *string, key, value string, n int) error {
		var tags []types.Tag
		for i := range n {
			k := key
			if n > 1 {
				k = fmt.Sprintf("%s%d", key, i)
			}
			tags = append(tags, types.Tag{TagKey: new(k), TagValue: new(value)})
		}
		_, err := s.TagResource(s.Context(), &kms.TagResourceInput{KeyId: name, Tags: tags})
		return err
	}
	_, err := s.CreateAlias(s.Context(), &kms.CreateAliasInput{AliasName: new("alias/a"), TargetKeyId: &key})
	s.refused("an alias", err, "")
	for what, c := range map[string]struct {
		name       *string
		key, value string
		n          int
		code       string
	}{
		"the longest":         {&key, strings.Repeat("k", 128), strings.Repeat("v", 256), 1, ""},
		"a key of 129":        {&key, strings.Repeat("k", 129), "", 1, "ValidationException"},
		"a value of 257":      {&key, "k", strings.Repeat("v", 257), 1, "ValidationException"},
		"all its characters":  {&key, "keyrotor:1a_b.c/d=e+f-g@h i", "ä", 1, ""},
		"another character":   {&key, "k", "a;b", 1, "TagException"},
		"AWS's prefix":        {&key, "AWS:x", "", 1, "TagException"},
		"fifty-one":           {&key, "n", "", 51, "LimitExceededException"},
		"by alias":            {new("alias/a"), "k", "", 1, "NotFoundException"},
		"by the alias's ARN":  {new("arn:aws:kms:eu-west-1:111122223333:alias/a"), "k", "", 1, "NotFoundException"},
		"a key that is not":   {new("1234abcd-12ab-34cd-56ef-1234567890ab"), "k", "", 1, "NotFoundException"},
		"of another region":   {new(strings.Replace(key, "eu-west-1", "eu-west-2", 1)), "k", "", 1, "NotFoundException"},
		"of another account":  {new(strings.Replace(key, Account, "444455556666", 1)), "k", "", 1, "NotFoundException"},
		"an odd kind of name": {new("arn:aws:kms:eu-west-1:111122223333:thing/x"), "k", "", 1, "InvalidArnException"},
	} {
		s.refused(what, tagWith(c.name, c.key, c.value, c.n), c.code)
	}
	_, err = s.UntagResource(s.Context(), &kms.UntagResourceInput{KeyId: &key, TagKeys: []string{strings.Repeat("k", 128), "none"}})
	s.refused("untagging", err, "")
	tags, err := s.ListResourceTags(s.Context(), &kms.ListResourceTagsInput{KeyId: &key})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("the tags are %+v, %v", tags, err)
	}
}
