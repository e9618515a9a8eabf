package awskmsfake

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keyrotor/keyrotor/testing/faultplan"
)

// Credentials are what a client signs with.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
}

// principal is who signs.
type principal struct {
	arn     string
	secret  string
	token   string
	expires time.Time // zero for a user
	policy  policy
}

// AllowAll is the policy of an administrator.
const AllowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}`

// User makes an IAM user with an access key. The policy is one of IAM's in JSON; of it the
// fake knows what [Server] decides by, and refuses the rest.
func (s *Server) User(name, policyJSON string) (Credentials, error) {
	p, err := parsePolicy(policyJSON)
	if err != nil {
		return Credentials{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.next()
	c := Credentials{AccessKeyID: fmt.Sprintf("AKIAFAKE%012d", n), SecretAccessKey: fmt.Sprintf("fake/secret/of/%s/%026d", name, n)}
	s.principals[c.AccessKeyID] = &principal{arn: "arn:aws:iam::" + Account + ":user/" + name, secret: c.SecretAccessKey, policy: p}
	return c, nil
}

// Revoke makes AWS no longer know an access key.
func (s *Server) Revoke(accessKeyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.principals, accessKeyID)
}

// Role is what can be assumed.
type Role struct {
	Name string
	// Trusted is the ARN of who may assume it by name; empty for nobody.
	Trusted string
	// ExternalID is asked for if it is set.
	ExternalID string
	// WebIdentityToken is the OIDC token with which it may be assumed; empty for none.
	WebIdentityToken string
	// Policy is its permissions in JSON.
	Policy string
	// Lasts is how long its credentials do; an hour if it is zero.
	Lasts time.Duration

	policy policy
}

// ARN names the role.
func (r *Role) ARN() string { return "arn:aws:iam::" + Account + ":role/" + r.Name }

// AddRole makes a role known.
func (s *Server) AddRole(r Role) (*Role, error) {
	p, err := parsePolicy(r.Policy)
	if err != nil {
		return nil, err
	}
	r.policy = p
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[r.ARN()] = &r
	return &r, nil
}

// UserARN is that of a user's name.
func UserARN(name string) string { return "arn:aws:iam::" + Account + ":user/" + name }

// policy is an identity's, of which only the permitting kind is known here.
type policy []statement

type statement struct {
	Sid       string
	Effect    string
	Action    texts
	Resource  texts
	Condition map[string]map[string]texts
}

// texts is one string, or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// contextKeys is the one condition that is known: the keys of the encryption context.
const (
	anyValue    = "ForAnyValue:StringEquals"
	contextKeys = "kms:EncryptionContextKeys"
)

func parsePolicy(text string) (policy, error) {
	var doc struct{ Statement []statement }
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return nil, fmt.Errorf("the policy is not JSON: %w", err)
	}
	for _, st := range doc.Statement {
		if st.Effect != "Allow" || len(st.Action) == 0 || len(st.Resource) == 0 {
			return nil, fmt.Errorf("statement %q is none that allows actions on resources", st.Sid)
		}
		for operator, keys := range st.Condition {
			for name := range keys {
				if operator != anyValue || name != contextKeys {
					return nil, fmt.Errorf("statement %q has the condition %s %s, which is not known here", st.Sid, operator, name)
				}
			}
		}
	}
	return doc.Statement, nil
}

// allows decides as https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
// does where nothing is denied explicitly.
func (p policy) allows(action, resource string, encryptionContext map[string]string) bool {
	matches := func(patterns texts, name string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { return faultplan.Match(pattern, name) })
	}
	return slices.ContainsFunc(p, func(st statement) bool {
		if !matches(st.Action, action) || !matches(st.Resource, resource) {
			return false
		}
		wanted, conditional := st.Condition[anyValue][contextKeys]
		return !conditional || slices.ContainsFunc(wanted, func(name string) bool {
			_, ok := encryptionContext[name]
			return ok
		})
	})
}

// may checks what the caller is allowed to do.
func (c *call) may(action, resource string, encryptionContext map[string]string) *apiError {
	if c.who.policy.allows("kms:"+action, resource, encryptionContext) {
		return nil
	}
	return refuse("AccessDeniedException", "User: %s is not authorized to perform: kms:%s on resource: %s because no identity-based policy allows the kms:%s action",
		c.who.arn, action, resource, action)
}
