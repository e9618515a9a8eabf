package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/secret"
)

// keySetup is one run of `key setup`.
type keySetup struct {
	*app
	old, new givenKey
	form     choice
	limit    limitFlag
	setup    core.KeySetup
}

// givenKey is where one of the two keys comes from.
type givenKey struct {
	// flag is the first word of its flags.
	flag       string
	file       string
	passphrase bool
}

// setupView is the answer. Its JSON form is stable.
type setupView struct {
	Key     string `json:"key"`
	ID      string `json:"id"`
	Primary uint32 `json:"primary"`
	// Made are the versions that this call made.
	Made []uint32         `json:"made"`
	Old  setupVersionView `json:"old"`
	New  setupVersionView `json:"new"`
}

type setupVersionView struct {
	Version uint32        `json:"version"`
	Label   string        `json:"label"`
	State   keyring.State `json:"state"`
	KCV     string        `json:"kcv"`
	Wraps   []wrapView    `json:"wraps"`
}

func (a *app) keySetup() *cobra.Command {
	forms := make([]string, 0, len(keyring.Forms()))
	for _, f := range keyring.Forms() {
		forms = append(forms, string(f))
	}
	s := keySetup{app: a, old: givenKey{flag: "old"}, new: givenKey{flag: "new"}, form: newChoice(string(keyring.FormAuto), forms...)}
	algorithm := newChoice(string(keyring.AES256GCM), string(keyring.AES256GCM), string(keyring.XChaCha20Poly1305))
	cmd := &cobra.Command{
		Use:   "setup NAME",
		Short: "Take over the key that was in use and the one that is to be",
		Long: `Take over two master keys from elsewhere as the first two versions of a key: the new
one encrypts, the old one still decrypts. The history gets two creations and one
rotation.

Each key is read from its file, never from the command line, and in a terminal it is
asked for if no file is named: 32 bytes, 64 hex digits, or 43 or 44 characters of base64,
or with --old-passphrase and --new-passphrase a passphrase of 12 bytes or more. What is
said of both in 'keyrotor key import --help' holds here, too.

The same command again changes nothing, and completes one that was cut off. If the key
exists and has other versions, nothing is changed, and the error has the key check
values that differ.

Values that other software encrypted under these keys do not open: Keyrotor encrypts
under keys that it derives from them.`,
		Example: `  keyrotor key setup payments --old-file old.key --new-file new.key
  keyrotor key setup payments --old-file old.txt --old-passphrase --new-file new.key --note 'leaving the old system'
  keyrotor key setup payments --old-file old.key --new-file new.key --old-label 2025 --new-label 2026 -o json`,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.check(cmd); err != nil {
				return err
			}
			s.setup.Key, s.setup.Algorithm, s.setup.HardLimit = args[0], keyring.Algorithm(algorithm.value), uint64(s.limit)
			return a.withKeyrotorOrNew(cmd, s.run)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&s.old.file, "old-file", "", "read the old key from `FILE`")
	flags.StringVar(&s.new.file, "new-file", "", "read the new key from `FILE`")
	flags.BoolVar(&s.old.passphrase, "old-passphrase", false, "the old key is a passphrase")
	flags.BoolVar(&s.new.passphrase, "new-passphrase", false, "the new key is a passphrase")
	flags.StringVar(&s.setup.OldLabel, "old-label", "", "the `LABEL` of the old version (default: v1)")
	flags.StringVar(&s.setup.NewLabel, "new-label", "", "the `LABEL` of the new version (default: v2)")
	flags.Var(&s.form, "format", "how a key that is no passphrase is written; auto goes by its length")
	flags.StringSliceVar(&s.setup.WrapWith, "wrap-with", nil, "the `PROVIDERS` that wrap each version, separated by commas")
	flags.Var(&algorithm, "algorithm", "the cipher of its versions")
	flags.Var(&s.limit, "hard-limit", "let a version encrypt `NUMBER` times at most (default: 4294967296)")
	flags.StringVar(&s.setup.Note, "note", "", "`TEXT` for the history; not secret")
	completeChoice(cmd, "format", &s.form)
	completeChoice(cmd, "algorithm", &algorithm)
	completeFlag(cmd, "wrap-with", a.completeProviderList)
	return cmd
}

// check refuses flags that mean nothing together.
func (s *keySetup) check(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	if given("format") && s.old.passphrase && s.new.passphrase {
		return misuse(cmd, "--format is for keys that are no passphrases")
	}
	if given("wrap-with") && len(s.setup.WrapWith) == 0 {
		return misuse(cmd, "--wrap-with names no provider")
	}
	for _, k := range []givenKey{s.old, s.new} {
		switch {
		case given(k.flag+"-file") && k.file == "":
			return misuse(cmd, "--%s-file names no file", k.flag)
		case given(k.flag+"-label") && cmd.Flag(k.flag+"-label").Value.String() == "":
			return misuse(cmd, "--%s-label is empty", k.flag)
		case k.file == "" && !s.InTerminal():
			return misuse(cmd, "--%s-file is missing, and there is no terminal to ask in", k.flag)
		}
	}
	return nil
}

func (s *keySetup) run(ctx context.Context, kr *core.Keyrotor) (err error) {
	defer func() {
		s.setup.Old.Wipe()
		s.setup.New.Wipe()
	}()
	if s.setup.Old, err = s.read(ctx, s.old); err != nil {
		return err
	}
	if s.setup.New, err = s.read(ctx, s.new); err != nil {
		return err
	}
	result, err := kr.SetupKeyRotation(ctx, s.setup)
	if err != nil {
		return err
	}
	return s.answer(result)
}

// read answers one of the keys.
func (s *keySetup) read(ctx context.Context, k givenKey) (core.GivenKey, error) {
	input, err := s.input(ctx, k)
	if err != nil {
		return core.GivenKey{}, err
	}
	defer clear(input)
	if k.passphrase {
		return core.Passphrase(secret.New(slices.Clone(keyring.TrimLine(input)))), nil
	}
	root, err := keyring.ParseRoot(keyring.Form(s.form.value), input)
	if err != nil {
		return core.GivenKey{}, fmt.Errorf("the %s key: %w", k.flag, err)
	}
	return core.MasterKey(root), nil
}

// input reads what a key is made of; the caller wipes it.
func (s *keySetup) input(ctx context.Context, k givenKey) ([]byte, error) {
	switch {
	case k.file != "":
		return secretFile(ctx, "--"+k.flag+"-file", k.file)
	case k.passphrase:
		return s.Secret(ctx, "Passphrase of the "+k.flag+" key: ", "Again: ")
	default:
		return s.Secret(ctx, "The "+k.flag+" key, in hex or base64: ")
	}
}

func (s *keySetup) answer(r core.KeySetupResult) error {
	view := setupView{Key: r.Key.Name, ID: r.Key.ID.String(), Primary: r.Key.Primary, Made: notNil(r.Made)}
	for number, v := range map[uint32]*setupVersionView{r.Old: &view.Old, r.New: &view.New} {
		stored, ok := r.Key.Version(number)
		if !ok {
			return fmt.Errorf("%w: key %q has no version %d", keyring.ErrUnknownVersion, r.Key.Name, number)
		}
		*v = setupVersionView{
			Version: number, Label: stored.Label, State: stored.State, KCV: stored.KCV.String(), Wraps: viewWraps(stored.Wraps),
		}
	}
	if s.JSON {
		return s.Answer(view)
	}
	head := "the old key and the new one are registered"
	if len(view.Made) == 0 {
		head = "nothing to do: it has these keys already"
	}
	return s.Printf("key %s: %s\nold: version %d, label %s, %s; key check value %s\nnew: version %d, label %s, %s; key check value %s\n",
		view.Key, head,
		view.Old.Version, view.Old.Label, view.Old.State, view.Old.KCV,
		view.New.Version, view.New.Label, view.New.State, view.New.KCV)
}
