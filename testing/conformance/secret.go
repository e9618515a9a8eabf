package conformance

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyrotor/keyrotor/core/provider"
)

func secretCases() []testCase {
	return []testCase{
		{name: "secret/config", test: testSecretConfig},
		{name: "secret/root", test: onKEK(testSecretRoot)},
	}
}

// testSecretConfig: a credential shows in no error, be it right or wrong.
func testSecretConfig(ctx context.Context, s *subject) error {
	k, err := s.newKEK(ctx)
	if err != nil {
		return err
	}
	if err := k.shows(ctx, secretsOf(k.body)); err != nil {
		return err
	}
	planted := plant(s.Schema, k.body)
	secrets := secretsOf(planted)
	wrong, err := s.openKEK(ctx, planted)
	if err != nil {
		return leak(err, secrets)
	}
	return wrong.shows(ctx, secrets)
}

// plant fills every sensitive attribute of a body with a secret of its own.
func plant(schema provider.Schema, body provider.Body) provider.Body {
	out := provider.Body{Attributes: maps.Clone(body.Attributes), Blocks: slices.Clone(body.Blocks)}
	if out.Attributes == nil {
		out.Attributes = map[string]any{}
	}
	for _, a := range schema.Attributes {
		if a.Sensitive {
			out.Attributes[a.Name] = provider.NewSecret([]byte("planted-" + hex.EncodeToString(newRoot())))
		}
	}
	for i, b := range out.Blocks {
		if inner, ok := schema.Block(b.Type, b.Label); ok {
			out.Blocks[i].Body = plant(inner.Body, b.Body)
		}
	}
	return out
}

func secretsOf(body provider.Body) [][]byte {
	var out [][]byte
	for _, v := range body.Attributes {
		if secret, ok := v.(provider.Secret); ok {
			out = append(out, secret.Reveal())
		}
	}
	for _, b := range body.Blocks {
		out = append(out, secretsOf(b.Body)...)
	}
	return out
}

// shows makes what calls it can fail, and answers which error shows a secret.
func (k *kek) shows(ctx context.Context, secrets [][]byte) error {
	_, describe := k.DescribeKey(ctx)
	_, _, generate := k.generate(ctx, nil)
	_, check := k.Check(ctx, provider.CheckRequest{Deep: true})
	_, wrap := k.wrap(ctx, []byte("short"), nil)
	_, unwrap := k.unwrap(ctx, provider.Wrapped{KEKID: "another", KEKVersion: "9999", Blob: []byte("blob")}, nil)
	_, rewrap := k.rewrap(ctx, provider.Wrapped{KEKID: "another", KEKVersion: "9999", Blob: []byte("blob")}, nil)
	for _, err := range []error{describe, generate, check, wrap, unwrap, rewrap} {
		if err := leak(err, secrets); err != nil {
			return err
		}
	}
	return nil
}

// testSecretRoot: not even a root that is refused shows in the error.
func testSecretRoot(ctx context.Context, k *kek) error {
	root := append(newRoot(), newRoot()...)
	_, err := k.wrap(ctx, root, nil)
	return leak(err, [][]byte{root, root[:provider.RootSize]})
}

// leak answers whether an error's text holds a secret. It does not repeat it.
func leak(err error, secrets [][]byte) error {
	if err == nil {
		return nil
	}
	text := fmt.Sprintf("%s %+v", err, err)
	for _, secret := range secrets {
		if len(secret) < 8 { // may stand there by chance
			continue
		}
		for form, shown := range map[string]string{
			"as it is":   string(secret),
			"quoted":     strings.Trim(fmt.Sprintf("%q", secret), `"`),
			"in hex":     hex.EncodeToString(secret),
			"in base64":  base64.RawStdEncoding.EncodeToString(secret),
			"in numbers": strings.Trim(fmt.Sprintf("%d", secret), "[]"),
		} {
			if strings.Contains(text, shown) {
				return fmt.Errorf("an error of code %s shows a secret %s", string(provider.CodeOf(err)), form)
			}
		}
	}
	return nil
}
