package app

import (
	"context"
	"slices"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/authz/cedar"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
)

// CandidateGuard is the name under which the record says what a candidate
// policy would have decided otherwise. The path of such a finding is the first
// twelve digits of the candidate's digest, a space, and the policy.
const CandidateGuard = "policy-candidate"

// candidateDigest is how much of a digest a finding has.
const candidateDigest = 12

// Candidate loads the policies that are only compared; nil where the config has
// none.
func Candidate(cfg *config.Config) (*cedar.Decider, *cedar.Policies, error) {
	if len(cfg.PolicyCandidate) == 0 {
		return nil, nil, nil
	}
	other := *cfg
	other.Policy = cfg.PolicyCandidate
	return Policies(&other)
}

// compared decides by one decider and notes where another would decide
// otherwise. The other one changes nothing that anybody sees.
type compared struct {
	authz.Decider
	candidate authz.Decider
	digest    string
}

// Decide implements authz.Decider.
func (c compared) Decide(ctx context.Context, q authz.Query) call.Decision {
	d, other := c.Decider.Decide(ctx, q), c.candidate.Decide(ctx, q)
	if d.Effect == other.Effect && d.Reason == other.Reason {
		return d
	}
	why := ""
	if len(other.Findings) > 0 {
		why = other.Findings[0].Path
		if why == "" {
			why = string(other.Findings[0].Reason)
		}
	}
	would := other.Effect.String()
	d.Findings = append(slices.Clip(d.Findings), call.Finding{Guard: CandidateGuard, Reason: call.Reason("would-" + would), Path: c.digest + " " + why})
	return d
}

// withCandidate puts the candidate of a config beside the decider in force.
func withCandidate(cfg *config.Config, d authz.Decider) (authz.Decider, error) {
	candidate, p, err := Candidate(cfg)
	if err != nil || candidate == nil {
		return d, err
	}
	return compared{Decider: d, candidate: candidate, digest: p.Digest()[:candidateDigest]}, nil
}
