using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using ObjectStore.Metadata;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Maintenance.Liveness;

/// <summary>
/// Finds out whether anything names extents of which no fragment that is at hand says whose they are: those are too damaged, or on drives that do not answer. That takes a look at all of the
/// metadata, so it is done for all of them together, and seldom beside the time it takes. <see cref="IsNamed"/> from anywhere; the search by one loop.
/// </summary>
/// <param name="orphanGrace">An extent older than this gets no name any more.</param>
internal sealed partial class OwnerSearch(IMaintenanceStore metadata, TimeProvider time, TimeSpan orphanGrace, ILogger logger)
{
    public const int MaxExtents = 10_000;

    // What a search took is at most a twentieth of the time.
    private const int RestFactor = 20;

    // A write that was complete when it was asked for first is committed by then, or never.
    private static readonly TimeSpan Settling = TimeSpan.FromMinutes(1);

    // That nothing names a young extent is not believed for longer; nor, of any, that something does, since it may have been deleted. They are searched for again at half of it.
    private static readonly TimeSpan UnnamedFor = TimeSpan.FromMinutes(20);
    private static readonly TimeSpan NamedFor = TimeSpan.FromHours(24);

    // An entry of the repair queue is looked at once an hour at least.
    private static readonly TimeSpan ForgottenAfter = TimeSpan.FromHours(3);

    private readonly ConcurrentDictionary<ExtentId, Answer> _answers = new();
    private long _endedAt;
    private TimeSpan _rest; // after that
    private TimeSpan _usualRest; // after the last search that did not fail

    /// <summary>There is something to search for. Raised on whoever's thread asks.</summary>
    public event Action? Asked;

    /// <summary>Null where it is not known: it is searched for then, a minute later at the earliest. One that nothing names may still get a name as long as its write may be under way.</summary>
    public bool? IsNamed(ExtentId extent)
    {
        DateTimeOffset now = time.GetUtcNow();
        if (_answers.TryGetValue(extent, out Answer? answer))
        {
            answer.LastAskedAt = now;
            return answer.IsNamed is { } named && Age(answer, now) is var age && age >= TimeSpan.Zero && age < GoodFor(extent, answer) ? named : null;
        }

        if (_answers.Count < MaxExtents && _answers.TryAdd(extent, new Answer(null, default, now)))
            Asked?.Invoke();
        return null;
    }

    /// <summary>Searches, where there is anything to search for, and time to. Whether it found out anything that was not known.</summary>
    public async Task<bool> SearchAsync(CancellationToken cancellationToken)
    {
        DateTimeOffset began = time.GetUtcNow();
        if (_rest > TimeSpan.Zero && time.GetElapsedTime(_endedAt) < _rest)
            return false;
        foreach (KeyValuePair<ExtentId, Answer> answer in _answers)
        {
            if (began - answer.Value.LastAskedAt >= ForgottenAfter)
                _answers.TryRemove(answer);
        }

        ExtentId[] wanted = [.. _answers.Where(answer => IsDue(answer.Key, answer.Value, began)).Select(answer => answer.Key)];
        if (wanted.Length == 0)
            return false;
        long started = time.GetTimestamp();
        HashSet<(ulong, ulong)> ids = [.. wanted.Select(IdOf)], named = [];
        byte[]? after = null;
        TimeSpan took;
        try
        {
            do
            {
                ExtentSearchPage page = await metadata.SearchExtentsAsync(new ExtentSearch(ids, after), cancellationToken).ConfigureAwait(false);
                named.UnionWith(page.Named);
                after = page.Next;
            }
            while (after is not null && named.Count < ids.Count);
        }
        finally
        {
            // Also where it fails, which it may do again.
            took = time.GetElapsedTime(started);
            (_endedAt, _rest) = (time.GetTimestamp(), took * RestFactor);
        }

        _usualRest = _rest;
        bool isNew = false;
        foreach (ExtentId extent in wanted)
        {
            Answer before = _answers[extent], answer = before with { IsNamed = named.Contains(IdOf(extent)), At = began };
            isNew |= before.IsNamed != answer.IsNamed;
            _answers[extent] = answer;
        }

        LogSearched(wanted.Length, took, named.Count);
        return isNew;
    }

    private bool IsDue(ExtentId extent, Answer answer, DateTimeOffset now)
        => answer.IsNamed is null ? IsOld(extent, now) || now - answer.AskedAt >= Settling || now < answer.AskedAt : Age(answer, now) is var age && (age < TimeSpan.Zero || age >= GoodFor(extent, answer) / 2);

    private TimeSpan GoodFor(ExtentId extent, Answer answer) => answer.IsNamed == true ? NamedFor : IsOld(extent, answer.At) ? TimeSpan.MaxValue : UnnamedFor > 3 * _usualRest ? UnnamedFor : 3 * _usualRest;

    // Below zero by a clock that has been set back: what was found by it may have been about an extent that only looked old.
    private static TimeSpan Age(Answer answer, DateTimeOffset now) => now - answer.At;

    private bool IsOld(ExtentId extent, DateTimeOffset now) => extent.CreatedUnixMs < (now - orphanGrace).ToUnixTimeMilliseconds();

    private static (ulong, ulong) IdOf(ExtentId extent) => ((ulong)(extent.Value >> 64), (ulong)extent.Value);

    private sealed record Answer(bool? IsNamed, DateTimeOffset At, DateTimeOffset AskedAt)
    {
        public DateTimeOffset LastAskedAt { get; set; } = AskedAt;
    }

    [LoggerMessage(51, LogLevel.Information, "The metadata was searched for {Extents} extents of which no fragment at hand says whose they are, in {Took}: {Named} are named")]
    private partial void LogSearched(int extents, TimeSpan took, int named);
}
