package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyrotor/keyrotor/cmd/keyrotor/internal/console"
	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/reencrypt"
)

func (a *app) recoverCommand() *cobra.Command {
	seen := seenFlag{}
	cmd := &cobra.Command{
		Use:   "recover [PATH]...",
		Short: "Let the keys of a restored store encrypt again",
		Long: `Let the keys of a restored store encrypt again: give each a new version, whose number
is above every one that was ever seen, and make it the primary. The store itself knows
the numbers up to its backup only. Those after it stand in the tokens of your files:
name every file and folder that holds some, beside those of the config's data blocks.
Where you know a number by other means, say it with --seen. Ciphertexts in the binary
form are not seen in files.

Nothing is lost if a number is missed. It is then used again, and a token of the lost
version answers authentication instead of unknown_version.

A key that fails holds up no other; run the command again, and only what is left is
done. If a file cannot be read, nothing is done, since it may hold the highest number.

` + exitCodesNote,
		Example: `  keyrotor recover deploy/ .env
  keyrotor recover deploy/ --seen payments=12`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withKeyrotor(cmd, func(ctx context.Context, kr *core.Keyrotor) error {
				progress, done := a.filesProgress()
				r, err := kr.Recover(ctx, core.RecoverOptions{Paths: args, Seen: seen, Progress: progress})
				done()
				if errors.Is(err, core.ErrUnread) {
					a.listFailures(r.Read.Failed)
				}
				if err != nil && len(r.Keys) == 0 {
					return err
				}
				if len(r.Keys) > 0 && r.Read.Files+len(seen) == 0 {
					a.Note("no file was searched: the numbers of versions that were made after the backup are used again")
				}
				return errors.Join(a.showRecovery(r), err)
			})
		},
	}
	cmd.Flags().Var(&seen, "seen", "a version number that a key had (`KEY=N`); may be repeated")
	return cmd
}

// The answer of recover. Its JSON form is stable.
type recoveryView struct {
	Keys   []recoveredView   `json:"keys"`
	Failed []recoveryFailure `json:"failed"`
	Files  int               `json:"files"`
	Tokens int               `json:"tokens"`
	Passed []reencrypt.Skip  `json:"skipped"`
}

type recoveredView struct {
	Key string `json:"key"`
	// Newest is the last version that came out of the backup.
	Newest  uint32 `json:"newest"`
	Primary uint32 `json:"primary"`
	// Skipped are the numbers between the two; nil if there are none.
	Skipped *skippedView `json:"skipped"`
	// SeenIn is where the highest number was found, if in a file.
	SeenIn    string     `json:"seen_in,omitempty"`
	Operation string     `json:"operation_id"`
	Wraps     []wrapView `json:"wraps"`
}

type skippedView struct {
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
}

type recoveryFailure struct {
	Key   string `json:"key"`
	Code  string `json:"code"`
	Error string `json:"error"`
}

func viewRecovery(r core.Recovery) recoveryView {
	v := recoveryView{
		Keys: []recoveredView{}, Failed: []recoveryFailure{},
		Files: r.Read.Files, Tokens: r.Read.Tokens, Passed: append([]reencrypt.Skip{}, r.Read.Skipped...),
	}
	for _, k := range r.Keys {
		if k.Err != nil {
			v.Failed = append(v.Failed, recoveryFailure{k.Key, codeOf(k.Err), k.Err.Error()})
			continue
		}
		done := recoveredView{
			Key: k.Key, Newest: k.Newest, Primary: k.Result.Primary, Operation: k.Result.Operation,
			Wraps: wrapsOf(k.Result.Key, k.Result.Primary),
		}
		if k.Seen > k.Newest {
			done.Skipped = &skippedView{k.Newest + 1, k.Seen}
		}
		if k.Where.File != "" {
			done.SeenIn = k.Where.String()
		}
		v.Keys = append(v.Keys, done)
	}
	return v
}

func (a *app) showRecovery(r core.Recovery) error {
	v := viewRecovery(r)
	if a.JSON {
		if err := a.Answer(v); err != nil {
			return err
		}
	} else if err := a.tellRecovery(v); err != nil {
		return err
	}
	switch {
	case len(v.Failed) == 0:
		return nil
	case len(v.Keys) == 0:
		var errs []error
		for _, k := range r.Keys {
			errs = append(errs, k.Err)
		}
		return errors.Join(errs...)
	default:
		return &partlyError{fmt.Sprintf("%s not recovered; run the command again", count(len(v.Failed), "key"))}
	}
}

func (a *app) tellRecovery(v recoveryView) error {
	if len(v.Keys)+len(v.Failed) == 0 {
		return a.Printf("no key needs a recovery\n")
	}
	a.sumSkipped(v.Passed)
	for _, k := range v.Keys {
		skipped := ""
		if k.Skipped != nil {
			skipped = fmt.Sprintf("; v%d to v%d are skipped", k.Skipped.From, k.Skipped.To)
			if k.SeenIn != "" {
				skipped += ", seen in " + console.Printable(k.SeenIn)
			}
		}
		if err := a.Printf("key %s: version %d is the primary, the backup had up to %d%s\n", k.Key, k.Primary, k.Newest, skipped); err != nil {
			return err
		}
	}
	for _, f := range v.Failed {
		a.Hint("key %s: %s: %s", f.Key, f.Code, console.Printable(f.Error))
	}
	return a.Printf("%s, %s searched\n", count(v.Files, "file"), count(v.Tokens, "token"))
}

// seenFlag holds the highest number given for each key.
type seenFlag map[string]uint32

// String implements pflag.Value.
func (s *seenFlag) String() string { return "" }

// Type implements pflag.Value.
func (s *seenFlag) Type() string { return "KEY=N" }

// Set implements pflag.Value.
func (s *seenFlag) Set(text string) error {
	key, number, _ := strings.Cut(text, "=")
	if err := keyring.CheckName(key); err != nil {
		return err
	}
	n, ok := parseVersion(number)
	if !ok {
		return errors.New("it is a key and the number of a version, like payments=12")
	}
	(*s)[key] = max((*s)[key], n)
	return nil
}
