package reencrypt

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func ExampleJob_Run() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	env := "USER=app\nPASSWORD=" + old("s3cret") + "\nNOTE=keyrotor:payments:v1:cut-off\n"
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(env), 0o600); err != nil {
		panic(err)
	}

	job := Job{Keys: newFakeKeys()} // an engine, in a program
	report, err := job.Run(context.Background(), []string{dir})
	if err != nil {
		panic(err)
	}
	fmt.Println(report.Reencrypted, "of", report.Tokens, "re-encrypted")
	for _, f := range report.Failed {
		fmt.Println(filepath.Base(f.File), f.Line, f.Code)
	}
	// Output:
	// 1 of 2 re-encrypted
	// .env 3 malformed
}

func ExampleCensus() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("PASSWORD="+renewed("s3cret")), 0o600); err != nil {
		panic(err)
	}

	report, err := Census(context.Background(), newFakeKeys(), []string{dir}, nil)
	if err != nil {
		panic(err)
	}
	counts, err := json.Marshal(report.Keys)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(counts))
	// Output: {"payments":{"1":0,"2":1}}
}

func ExampleHighest() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	lost := fakeToken("payments", 5, "s3cret", "") // of a version that no store has any more
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("PASSWORD="+lost), 0o600); err != nil {
		panic(err)
	}

	report, err := Highest(context.Background(), []string{"payments"}, []string{dir}, nil)
	fmt.Println(report.Keys["payments"].Version, report.Keys["payments"].Line, err)
	// Output: 5 1 <nil>
}
