package core_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/keyrotor/keyrotor/core"
	"github.com/keyrotor/keyrotor/core/doctor"
	"github.com/keyrotor/keyrotor/core/history"
	"github.com/keyrotor/keyrotor/core/keyring"
	"github.com/keyrotor/keyrotor/core/rotation"
)

func ExampleOpen() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath) // e.g. "/etc/keyrotor/keyrotor.hcl"
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	token, err := kr.Encrypt(ctx, "payments", []byte("s3cret"), []byte("customer 42"))
	if err != nil {
		log.Fatal(err)
	}
	plaintext, err := kr.Decrypt(ctx, token, []byte("customer 42"))
	fmt.Printf("%s %v\n", plaintext, err)
	// Output: s3cret <nil>
}

// A store is lost; all that was encrypted before the backup is read again, and what
// came after it is known to be lost.
func ExampleSetup_RestoreBackup() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "keyrotor-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	config, err := core.Init(ctx, filepath.Join(dir, "kr"), core.InitOptions{PluginDir: pluginDir})
	if err != nil {
		log.Fatal(err)
	}
	kr, err := core.Open(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := kr.CreateKey(ctx, "payments", core.KeyOptions{}); err != nil {
		log.Fatal(err)
	}
	token, err := kr.Encrypt(ctx, "payments", []byte("s3cret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "backup")
	if _, err := kr.CreateBackup(ctx, path, core.BackupOptions{}); err != nil {
		log.Fatal(err)
	}
	if _, err := kr.Rotate(ctx, "payments", keyring.ReasonManual, ""); err != nil {
		log.Fatal(err)
	}
	kr.Close()
	os.Remove(filepath.Join(dir, "kr", "keyrotor.db"))

	setup, err := core.Opener{}.Load(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer setup.Close()
	file, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	if _, err := setup.RestoreBackup(ctx, file, nil); err != nil {
		log.Fatal(err)
	}

	kr, err = core.Open(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	plaintext, err := kr.Decrypt(ctx, token, nil)
	fmt.Printf("%s %v\n", plaintext, err)
	_, err = kr.Encrypt(ctx, "payments", nil, nil)
	fmt.Println(errors.Is(err, rotation.ErrRestored))
	recovery, err := kr.Recover(ctx, core.RecoverOptions{Seen: map[string]uint32{"payments": 2}})
	fmt.Println(recovery.Keys[0].Key, recovery.Keys[0].Result.Primary, err)
	// Output:
	// s3cret <nil>
	// true
	// payments 3 <nil>
}

func ExampleOpener_Examine() {
	report, err := core.Opener{}.Examine(context.Background(), configPath, false)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range report.Findings {
		if f.Group() == doctor.GroupHistory {
			fmt.Println(f.Check, f.Status)
		}
	}
	// Output:
	// history.sequence ok
	// history.tree ok
	// history.columns ok
	// history.clock ok
	// history.retention ok
}

func contextForMain() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func historyOf(key string) history.Query { return history.Query{Key: key} }

// Whether a key is due, by whose word, and why.
func ExampleSetup_Policies() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	keys, err := kr.PolicyKeys(ctx, "payments")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range kr.Policies("payments") {
		fmt.Println(p.Name(), p.Decide(keys[0], time.Now()).Due)
	}
	// Output: hard_limit false
}

// Everything about one version of a key.
func ExampleKeyrotor_VersionInfo() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	info, err := kr.VersionInfo(ctx, "payments", 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Label, info.State, info.Reason, info.Encrypts, info.Decrypts, info.Wraps[0].Provider, info.Events[0].Type)
	// Output: v1 active initial true true local creation
}

// The versions under which values can be read, the primary first.
func ExampleKeyrotor_ActiveVersions() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	versions, err := kr.ActiveVersions(ctx, "payments")
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range versions {
		fmt.Println(v.Number, v.State, v.Primary)
	}
	// Output: 1 active true
}

// The newest events from memory, which need no store once they are there.
func ExampleKeyrotor_RecentEvents() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	page, err := kr.RecentEvents(ctx, history.Query{Key: "payments", Type: history.Creation})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(page.Events))
	// Output: 1
}

// An auditor's question: is this event part of the log, as it was written?
func ExampleKeyrotor_HistoryRecord() {
	ctx := context.Background()
	kr, err := core.Open(ctx, configPath)
	if err != nil {
		log.Fatal(err)
	}
	defer kr.Close()
	record, err := kr.HistoryRecord(ctx, 1, 0)
	if err != nil {
		log.Fatal(err)
	}
	stats, err := kr.HistoryStats(ctx, history.Query{Key: "payments"})
	if err != nil {
		log.Fatal(err)
	}
	extent, err := kr.HistoryExtent(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record.Check(), stats.Types[history.Creation], extent.Root == record.Root)
	// Output: <nil> 1 true
}
