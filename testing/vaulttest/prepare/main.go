// Command prepare does with a fresh Vault what the quick start of the provider's page
// does by hand, for scripts that cannot count on Vault's command line:
//
//	VAULT_ADDR=… VAULT_TOKEN=… prepare README.md KEY DIR
//
// It mounts transit, makes a policy of the rules on the page for the key KEY, the one of
// `kek create` among them, and an AppRole with that policy, and writes its ids to
// DIR/role-id and DIR/secret-id.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/api"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: prepare README.md KEY DIR")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, page, key, dir string) error {
	rules, err := policy(page, key)
	if err != nil {
		return err
	}
	vault, err := api.NewClient(nil)
	if err != nil {
		return err
	}
	if err := vault.Sys().MountWithContext(ctx, "transit", &api.MountInput{Type: "transit"}); err != nil {
		return err
	}
	if err := vault.Sys().PutPolicyWithContext(ctx, "keyrotor", rules); err != nil {
		return err
	}
	if err := vault.Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"}); err != nil {
		return err
	}
	const role = "auth/approle/role/keyrotor"
	if _, err := vault.Logical().WriteWithContext(ctx, role, map[string]any{
		"token_policies": "keyrotor", "token_ttl": "20m", "token_max_ttl": "4h",
	}); err != nil {
		return err
	}
	roleID, err := vault.Logical().ReadWithContext(ctx, role+"/role-id")
	if err := store(dir, "role-id", "role_id", roleID, err); err != nil {
		return err
	}
	secretID, err := vault.Logical().WriteWithContext(ctx, role+"/secret-id", nil)
	return store(dir, "secret-id", "secret_id", secretID, err)
}

// policy reads the rules on the page, for another key. Of two rules for one path Vault
// adds up the rights.
func policy(page, key string) (string, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return "", err
	}
	_, section, found := strings.Cut(string(text), "\n## Least privilege\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rules strings.Builder
	for _, block := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(section, -1) {
		rules.WriteString(block[1])
	}
	if !found || rules.Len() == 0 {
		return "", fmt.Errorf("%s has no section on least privilege", page)
	}
	return strings.ReplaceAll(rules.String(), "payments-kek", key), nil
}

func store(dir, name, field string, secret *api.Secret, err error) error {
	if err != nil {
		return err
	}
	value, ok := secret.Data[field].(string)
	if !ok {
		return errors.New("Vault answers no " + field)
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(value+"\n"), 0o600)
}
