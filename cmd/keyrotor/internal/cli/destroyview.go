package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/keyrotor/keyrotor/core/destruction"
	"github.com/keyrotor/keyrotor/core/keyring"
)

func (a *app) scheduled(s destruction.Scheduled) error {
	if a.JSON {
		return a.Answer(s)
	}
	err := a.Printf("key %s: version %d is in quarantine, and due for destruction at %s\ncensus: %s\n",
		s.Key, s.Version, timeText(s.Due), censusText(s.Census))
	if err != nil {
		return err
	}
	a.Hint("Attempts to decrypt with it are refused and counted; `keyrotor key destroy list` shows them.")
	return nil
}

func (a *app) canceled(c destruction.Canceled) error {
	if a.JSON {
		return a.Answer(c)
	}
	return a.Printf("key %s: version %d is %s again\n", c.Key, c.Version, c.State)
}

func (a *app) listScheduled(list []destruction.Scheduled) error {
	if a.JSON {
		return a.Answer(map[string][]destruction.Scheduled{"scheduled": list})
	}
	if len(list) == 0 {
		a.Hint("No version is in quarantine.")
		return nil
	}
	rows := make([][]string, 0, len(list))
	for _, s := range list {
		rows = append(rows, []string{
			s.Key, keyring.VersionLabel(s.Version), string(s.From), timeText(s.Due), strconv.FormatUint(s.Attempts, 10), s.Actor, s.Note,
		})
	}
	return a.Table([]string{"KEY", "VERSION", "BEFORE", "DUE", "ATTEMPTS", "ACTOR", "NOTE"}, rows)
}

func (a *app) showReceipt(r destruction.Receipt) error {
	if a.JSON {
		return a.Answer(r)
	}
	wraps := make([]string, 0, len(r.Wraps))
	for _, w := range r.Wraps {
		wraps = append(wraps, strings.TrimSuffix(fmt.Sprintf("%s: %s, version %s", w.Provider, w.KEKID, w.KEKVersion), ", version "))
	}
	census := "not taken"
	if r.Census != nil {
		census = censusText(*r.Census)
	}
	scheduled, due := "never", "never"
	if !r.Scheduled.IsZero() {
		scheduled, due = timeText(r.Scheduled), timeText(r.Due)
	}
	forced := "no"
	if r.Forced {
		forced = "yes, without " + strings.Join(r.Skipped, ", ")
	}
	return a.Printf(`%s

store              %s
key                %s (%s)
version            %d
key check value    %s
wraps              %s
scheduled          %s
due                %s
destroyed          %s
actor              %s
note               %s
operation          %s
event              %d
forced             %s
refused attempts   %d
census             %s
history            %d events, root %s

%s
`, r.What, r.Store, r.Key, r.KeyID, r.Version, r.KCV, strings.Join(wraps, "; "), scheduled, due, timeText(r.Destroyed),
		r.Actor, dash(r.Note), r.Operation, r.Event, forced, r.Attempts, census, r.Log.Size, r.Log.Root, r.Meaning)
}

func censusText(c destruction.Census) string {
	return fmt.Sprintf("%s, %s, none of this version, %d skipped", count(c.Files, "file"), count(c.Tokens, "token"), c.Skipped)
}
