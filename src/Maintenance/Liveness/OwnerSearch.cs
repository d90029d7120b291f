using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using ObjectStore.Metadata;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Maintenance.Liveness;

/// <summary>
/// Finds out whether anything names extents of which only fragments are left that are too damaged to say whose they are. That takes a look at all of the metadata, so it is done for all of them
/// together, and seldom beside the time it takes. <see cref="IsNamed"/> from anywhere; the search by one loop.
/// </summary>
internal sealed partial class OwnerSearch(IMaintenanceStore metadata, TimeProvider time, ILogger logger)
{
    public const int MaxExtents = 10_000;

    // What a search took is at most a twentieth of the time.
    private const int RestFactor = 20;

    // What was named may have been deleted since.
    private static readonly TimeSpan NamedFor = TimeSpan.FromHours(24);

    private readonly ConcurrentDictionary<ExtentId, Answer> _answers = new();
    private DateTimeOffset _notBefore;

    /// <summary>There is something to search for. Raised on whoever's thread asks.</summary>
    public event Action? Asked;

    /// <summary>Null where it is not known yet; it is searched for then. One that nothing names may still get a name as long as its write may be under way.</summary>
    public bool? IsNamed(ExtentId extent)
    {
        if (_answers.TryGetValue(extent, out Answer? answer))
            return answer.IsNamed;
        if (_answers.Count < MaxExtents && _answers.TryAdd(extent, new Answer(null, default)))
            Asked?.Invoke();
        return null;
    }

    /// <summary>Whether there was anything to search for, and time to.</summary>
    public async Task<bool> SearchAsync(CancellationToken cancellationToken)
    {
        DateTimeOffset began = time.GetUtcNow();
        if (began < _notBefore && _notBefore - began < NamedFor)
            return false;
        ExtentId[] wanted = [.. _answers.Where(answer => answer.Value.IsNamed is null || (answer.Value.IsNamed == true && began - answer.Value.At >= NamedFor)).Select(answer => answer.Key)];
        if (wanted.Length == 0)
            return false;
        long started = time.GetTimestamp();
        HashSet<(ulong, ulong)> ids = [.. wanted.Select(IdOf)], named = [];
        byte[]? after = null;
        do
        {
            ExtentSearchPage page = await metadata.SearchExtentsAsync(new ExtentSearch(ids, after), cancellationToken).ConfigureAwait(false);
            named.UnionWith(page.Named);
            after = page.Next;
        }
        while (after is not null && named.Count < ids.Count);

        foreach (ExtentId extent in wanted)
            _answers[extent] = new Answer(named.Contains(IdOf(extent)), began);
        TimeSpan took = time.GetElapsedTime(started);
        _notBefore = time.GetUtcNow() + (took * RestFactor);
        LogSearched(wanted.Length, took, named.Count);
        return true;
    }

    private static (ulong, ulong) IdOf(ExtentId extent) => ((ulong)(extent.Value >> 64), (ulong)extent.Value);

    private sealed record Answer(bool? IsNamed, DateTimeOffset At);

    [LoggerMessage(51, LogLevel.Information, "The metadata was searched for {Extents} extents of which only damaged fragments are left, in {Took}: {Named} are named")]
    private partial void LogSearched(int extents, TimeSpan took, int named);
}
