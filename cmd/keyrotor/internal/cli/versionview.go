package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/history"
)

// versionInfoView is everything about one version. Its JSON form is stable.
type versionInfoView struct {
	Key   string `json:"key"`
	KeyID string `json:"key_id"`
	versionView
	Encrypts    bool   `json:"encrypts"`
	Decrypts    bool   `json:"decrypts"`
	AgeSeconds  int64  `json:"age_seconds"`
	Reencrypted uint64 `json:"reencrypted"`
	HardLimit   uint64 `json:"hard_limit"`
	// Events are the newest first.
	Events []versionEventView `json:"events"`
}

type versionEventView struct {
	Seq       uint64       `json:"seq"`
	Type      history.Type `json:"type"`
	Time      time.Time    `json:"time"`
	Actor     string       `json:"actor"`
	Operation string       `json:"operation_id"`
}

func (a *app) showVersion(info core.VersionInfo) error {
	if a.JSON {
		view := versionInfoView{
			Key: info.Key, KeyID: info.KeyID.String(), versionView: viewVersion(&info.Version, info.Primary, info.Uses),
			Encrypts: info.Encrypts, Decrypts: info.Decrypts, AgeSeconds: int64(info.Age / time.Second),
			Reencrypted: info.Reencrypted, HardLimit: info.HardLimit, Events: []versionEventView{},
		}
		for _, e := range info.Events {
			view.Events = append(view.Events, versionEventView{e.Seq, e.Type, e.Time, e.Actor, e.Operation})
		}
		return a.Answer(view)
	}
	activated := "never"
	if !info.Activated.IsZero() {
		activated = timeText(info.Activated)
	}
	if err := a.Printf(`key            %s
version        %s
state          %s, since %s
good for       %s
algorithm      %s
reason         %s
created        %s, %s ago
activated      %s
uses           %d of %d, %d of them by re-encryption
check value    %s
`, info.Key, labeled(info.Number, info.Label), info.State, timeText(info.StateChanged), goodFor(info), info.Algorithm, info.Reason,
		timeText(info.Created), info.Age.Round(time.Second), activated, info.Uses, info.HardLimit, info.Reencrypted, info.KCV); err != nil {
		return err
	}
	for _, w := range info.Wraps {
		if err := a.Printf("wrapped by     %s, KEK %s, version %s, %s\n", w.Provider, w.KEKID, dash(w.KEKVersion), timeText(w.Created)); err != nil {
			return err
		}
	}
	if len(info.Events) == 0 {
		a.Hint("No events are left that are about this version.")
		return nil
	}
	rows := make([][]string, 0, len(info.Events))
	for _, e := range info.Events {
		rows = append(rows, []string{strconv.FormatUint(e.Seq, 10), timeText(e.Time), string(e.Type), dash(e.Reason), e.Actor})
	}
	if err := a.Printf("\n"); err != nil {
		return err
	}
	return a.Table([]string{"EVENT", "TIME", "TYPE", "REASON", "ACTOR"}, rows)
}

// goodFor says what a version can be used for.
func goodFor(info core.VersionInfo) string {
	switch {
	case info.Encrypts:
		return "encryption and decryption: it is the primary"
	case info.Decrypts && info.Primary:
		return fmt.Sprintf("decryption; its %d uses are up: rotate the key", info.HardLimit)
	case info.Decrypts:
		return "decryption"
	default:
		return "nothing"
	}
}
