using System.Collections.Immutable;

namespace ObjectStore.Grains;

/// <summary>Whether a conditional write may go ahead.</summary>
internal enum ConditionOutcome
{
    Holds,
    PreconditionFailed,
    NoSuchKey,
}

/// <summary>S3's rules for conditional writes and deletes.</summary>
internal static class WriteConditions
{
    /// <summary>A delete marker is no object: If-None-Match: * holds on it, If-Match does not.</summary>
    public static ConditionOutcome Evaluate(WriteCondition? condition, ObjectVersion? newest)
    {
        if (condition is null)
            return ConditionOutcome.Holds;
        bool exists = newest is { IsDeleteMarker: false };
        if (condition.IfAbsent && exists)
            return ConditionOutcome.PreconditionFailed;
        bool matches = !condition.IfMatch.IsDefaultOrEmpty;
        if (!exists)
            return matches || condition.IfMatchAny ? ConditionOutcome.NoSuchKey : ConditionOutcome.Holds;
        return matches && !condition.IfMatchAny && !condition.IfMatch.Contains(newest!.ETag) ? ConditionOutcome.PreconditionFailed : ConditionOutcome.Holds;
    }
}
