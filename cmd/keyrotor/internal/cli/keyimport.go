package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/engine"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
	"github.com/keyrotor/keyrotor/core/secret"
)

// maxSecret is the longest input of an import: a passphrase and its line break.
const maxSecret = keyring.MaxPassphrase + len("\r\n")

// keyImport is one run of `key import`.
type keyImport struct {
	*app
	name       string
	newVersion bool
	passphrase bool
	form       choice
	file       string
	reason     choice
	limit      limitFlag
	options    core.KeyOptions
}

// importedView is the answer. Its JSON form is stable.
type importedView struct {
	Key      string `json:"key"`
	ID       string `json:"id"`
	Version  uint32 `json:"version"`
	Previous uint32 `json:"previous"`
	// Origin is "imported" or "passphrase", as in the creation event.
	Origin string     `json:"origin"`
	KCV    string     `json:"kcv"`
	Wraps  []wrapView `json:"wraps"`
}

func (a *app) keyImport() *cobra.Command {
	forms := make([]string, 0, len(keyring.Forms()))
	for _, f := range keyring.Forms() {
		forms = append(forms, string(f))
	}
	i := keyImport{
		app: a, form: newChoice(string(keyring.FormAuto), forms...),
		reason: newChoice(string(keyring.ReasonManual), string(keyring.ReasonManual), string(keyring.ReasonEmergency)),
	}
	algorithm := newChoice(string(keyring.AES256GCM), string(keyring.AES256GCM), string(keyring.XChaCha20Poly1305))
	cmd := &cobra.Command{
		Use:   "import NAME",
		Short: "Make a key, or a version of one, of key material from elsewhere",
		Long: `Make a key, or with --new-version the primary version of an existing key, of key
material from elsewhere. It is read from standard input or from --file, never from
the command line: 32 bytes, 64 hex digits, or 43 or 44 characters of base64 of either
alphabet. The last line break of a text is left out. Values are encrypted under a key
that is derived from the material, so nothing but Keyrotor opens them.

--passphrase takes a passphrase of 12 bytes or more instead, and derives the material
by Argon2id (in FIPS 140 mode by PBKDF2) with a random salt. Salt and parameters stand
in the history. Whoever reads the database can try passphrases until one gives the
key check value, so only a long one, drawn at random, is as good as a key: six words
of a word list at least.

The answer ends with the key check value, which tells this material, in this version
of this store, from any other, and nothing else about it.`,
		Example: `  openssl rand 32 | keyrotor key import payments
  keyrotor key import payments --new-version --file old.key --format hex
  keyrotor key import payments --passphrase <passphrase.txt -o json | jq -r .kcv`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := i.check(cmd); err != nil {
				return err
			}
			i.name, i.options.Algorithm, i.options.HardLimit = args[0], keyring.Algorithm(algorithm.value), uint64(i.limit)
			if i.newVersion {
				return a.withKeyrotor(cmd, i.run)
			}
			return a.withKeyrotorOrNew(cmd, i.run)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&i.newVersion, "new-version", false, "add a version to a key that exists, and make it the primary")
	flags.Var(&i.form, "format", "how the material is written; auto goes by its length")
	flags.BoolVar(&i.passphrase, "passphrase", false, "take a passphrase, and derive the material from it")
	flags.StringVar(&i.file, "file", "", "read `FILE` instead of standard input")
	flags.StringSliceVar(&i.options.WrapWith, "wrap-with", nil, "the `PROVIDERS` that wrap each version, separated by commas")
	flags.Var(&algorithm, "algorithm", "the cipher of its versions")
	flags.Var(&i.limit, "hard-limit", "let a version encrypt `NUMBER` times at most (default: 4294967296)")
	flags.Var(&i.reason, "reason", "why there is a new version")
	flags.StringVar(&i.options.Note, "note", "", "`TEXT` for the history; not secret")
	completeChoice(cmd, "format", &i.form)
	completeChoice(cmd, "algorithm", &algorithm)
	completeChoice(cmd, "reason", &i.reason)
	completeFlag(cmd, "wrap-with", a.completeProviderList)
	return cmd
}

// check refuses flags that mean nothing together.
func (i *keyImport) check(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case i.passphrase && given("format"):
		return misuse(cmd, "--passphrase and --format are both given")
	case i.newVersion && (given("wrap-with") || given("algorithm") || given("hard-limit")):
		return misuse(cmd, "--wrap-with, --algorithm and --hard-limit are for a new key; a new version has those of its key")
	case !i.newVersion && given("reason"):
		return misuse(cmd, "--reason is for --new-version; the first version has the reason initial")
	case given("wrap-with") && len(i.options.WrapWith) == 0:
		return misuse(cmd, "--wrap-with names no provider")
	case given("file") && i.file == "":
		return misuse(cmd, "--file names no file")
	}
	return nil
}

func (i *keyImport) run(ctx context.Context, kr *core.Keyrotor) error {
	imported, err := i.read(ctx)
	if err != nil {
		return err
	}
	if i.newVersion {
		result, err := kr.ImportVersion(ctx, i.name, imported, keyring.Reason(i.reason.value), i.options.Note)
		if err != nil {
			return err
		}
		return i.answer(result)
	}
	key, err := kr.ImportKey(ctx, i.name, imported, i.options)
	if err != nil {
		return err
	}
	return i.answer(rotation.Result{Key: key, Primary: key.Primary})
}

// read answers the material, which the import wipes.
func (i *keyImport) read(ctx context.Context) (engine.Imported, error) {
	input, err := i.input(ctx)
	if err != nil {
		return engine.Imported{}, err
	}
	defer clear(input)
	if !i.passphrase {
		root, err := keyring.ParseRoot(keyring.Form(i.form.value), input)
		return engine.Imported{Root: root}, err
	}
	kdf := keyring.NewKDF()
	root, err := kdf.Root(secret.New(keyring.TrimLine(input)))
	return engine.Imported{Root: root, KDF: &kdf}, err
}

// input reads what the key is made of; the caller wipes it.
func (i *keyImport) input(ctx context.Context) ([]byte, error) {
	switch {
	case i.file != "":
		return secretFile(ctx, "--file", i.file)
	case !i.InTerminal():
		return readSecret(ctx, i.In)
	case i.passphrase:
		return i.Secret(ctx, "Passphrase: ", "Again: ")
	default:
		return i.Secret(ctx, "Key, in hex or base64: ")
	}
}

// secretFile reads the file that a flag names.
func secretFile(ctx context.Context, flag, path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	defer file.Close()
	input, err := readSecret(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, path, err)
	}
	return input, nil
}

func readSecret(ctx context.Context, from io.Reader) ([]byte, error) {
	in := interruptible(ctx, from)
	defer in.Close()
	input, err := readAll(in, maxSecret)
	if errors.Is(err, errTooLarge) {
		return nil, fmt.Errorf("%w: it is over %d bytes long", keyring.ErrMaterial, maxSecret)
	}
	return input, err
}

func (i *keyImport) answer(r rotation.Result) error {
	v, ok := r.Key.Version(r.Primary)
	if !ok {
		return fmt.Errorf("%w: key %q has no version %d", keyring.ErrUnknownVersion, r.Key.Name, r.Primary)
	}
	view := importedView{
		Key: r.Key.Name, ID: r.Key.ID.String(), Version: v.Number, Previous: r.Previous,
		Origin: "imported", KCV: v.KCV.String(), Wraps: viewWraps(v.Wraps),
	}
	if i.passphrase {
		view.Origin = "passphrase"
	}
	if i.JSON {
		return i.Answer(view)
	}
	place, origin := "", "imported"
	if r.Previous > 0 {
		place = fmt.Sprintf(" is the primary, before it %d", r.Previous)
	}
	if i.passphrase {
		origin = "derived from a passphrase"
	}
	return i.Printf("key %s: version %d%s; %s, wrapped by %s\nkey check value: %s\n",
		view.Key, view.Version, place, origin, wrappers(view.Wraps), view.KCV)
}
