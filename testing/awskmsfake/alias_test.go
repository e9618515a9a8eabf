package awskmsfake

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

func TestAliases(t *testing.T) {
	s := newScene(t, Config{})
	key, other := s.key(), s.key()
	_, err := s.CreateAlias(s.Context(), &kms.CreateAliasInput{AliasName: new("alias/a"), TargetKeyId: &key})
	s.refused("an alias", err, "")
	for name, code := range map[string]string{
		"alias/a": "AlreadyExistsException", "alias/aws/x": "InvalidAliasNameException", "a": "InvalidAliasNameException",
	} {
		_, err := s.CreateAlias(s.Context(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &other})
		s.refused(name, err, code)
	}
	_, err = s.UpdateAlias(s.Context(), &kms.UpdateAliasInput{AliasName: new("alias/a"), TargetKeyId: &other})
	s.refused("moving an alias", err, "")
	d, err := s.DescribeKey(s.Context(), &kms.DescribeKeyInput{KeyId: new("alias/a")})
	if err != nil || *d.KeyMetadata.Arn != other {
		t.Errorf("the alias names %+v, %v", d, err)
	}
	aliases, err := s.ListAliases(s.Context(), &kms.ListAliasesInput{})
	if err != nil || len(aliases.Aliases) != 1 {
		t.Errorf("the aliases are %+v, %v", aliases, err)
	}
	_, err = s.DeleteAlias(s.Context(), &kms.DeleteAliasInput{AliasName: new("alias/a")})
	s.refused("deleting it", err, "")
	_, err = s.DeleteAlias(s.Context(), &kms.DeleteAliasInput{AliasName: new("alias/a")})
	s.refused("deleting it again", err, "NotFoundException")
}
