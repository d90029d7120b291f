using System.Diagnostics.CodeAnalysis;

namespace Orleans.Runtime;

/// <summary>A timer of one activation. Disposing it ends it and cancels the token of a run in progress.</summary>
public interface IGrainTimer : IDisposable
{
    /// <summary>Sets the time to the next run and the period after it; <see cref="Timeout.InfiniteTimeSpan"/> disables either.</summary>
    void Change(TimeSpan dueTime, TimeSpan period);
}

/// <summary>How a grain timer runs.</summary>
public readonly struct GrainTimerCreationOptions()
{
    [SetsRequiredMembers]
    public GrainTimerCreationOptions(TimeSpan dueTime, TimeSpan period)
        : this()
    {
        DueTime = dueTime;
        Period = period;
    }

    public required TimeSpan DueTime { get; init; }

    public required TimeSpan Period { get; init; }

    /// <summary>Whether a run may interleave with requests.</summary>
    public bool Interleave { get; init; }

    /// <summary>Whether a run counts as use, which keeps idle collection away.</summary>
    public bool KeepAlive { get; init; }
}

/// <summary>A persisted reminder.</summary>
public interface IGrainReminder
{
    string ReminderName { get; }
}

/// <summary>When a reminder ticked, in UTC.</summary>
public readonly struct TickStatus(DateTime firstTickTime, TimeSpan period, DateTime timeStamp)
{
    public DateTime FirstTickTime { get; } = firstTickTime;

    public TimeSpan Period { get; } = period;

    public DateTime CurrentTickTime { get; } = timeStamp;

    public override string ToString() => $"first {FirstTickTime:O}, period {Period}, now {CurrentTickTime:O}";
}

/// <summary>Values that travel with a request, from caller to callee and not back.</summary>
public static class RequestContext
{
    // Copy on write: the dictionary in the slot is never changed, so a callee's changes don't reach its caller.
    private static readonly AsyncLocal<Dictionary<string, object>?> Values = new();

    public static IEnumerable<string> Keys => Values.Value?.Keys ?? Enumerable.Empty<string>();

    public static IEnumerable<KeyValuePair<string, object>> Entries => Values.Value ?? Enumerable.Empty<KeyValuePair<string, object>>();

    public static object? Get(string key) => Values.Value is { } values && values.TryGetValue(key, out object? value) ? value : null;

    public static void Set(string key, object value)
    {
        ArgumentNullException.ThrowIfNull(key);
        Dictionary<string, object> next = Values.Value is { } values ? new(values) : new(1);
        next[key] = value;
        Values.Value = next;
    }

    public static bool Remove(string key)
    {
        if (Values.Value is not { } values || !values.ContainsKey(key))
            return false;
        Dictionary<string, object> next = new(values);
        next.Remove(key);
        Values.Value = next.Count == 0 ? null : next;
        return true;
    }

    public static void Clear() => Values.Value = null;
}
