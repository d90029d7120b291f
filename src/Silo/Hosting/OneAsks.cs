using ObjectStore.Storage;

namespace ObjectStore.Silo.Hosting;

/// <summary>
/// Of a thousand callers that do not know a thing one asks; the others find the answer. Where it failed they share the failure: each asking anew would make the last of them wait as many times as
/// long. Nobody waits for longer than the limit, for others and for the answer together. Thread-safe.
/// </summary>
internal sealed class OneAsks(TimeSpan limit, TimeProvider time) : IDisposable
{
    private readonly SemaphoreSlim _one = new(1, 1);

    // A new object for each question that failed.
    private volatile PlacementUnavailableException? _failure;

    /// <param name="isKnown">Whether the answer is there by now.</param>
    /// <param name="ask">Gets it. Is cancelled at the limit.</param>
    /// <exception cref="PlacementUnavailableException">As the question ended, or the one that was waited for; or the limit has come.</exception>
    public async ValueTask AskAsync(Func<bool> isKnown, Func<CancellationToken, Task> ask, CancellationToken cancellationToken)
    {
        PlacementUnavailableException? before = _failure;
        using CancellationTokenSource late = new(limit, time);
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellationToken);
        try
        {
            await _one.WaitAsync(stop.Token);
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new PlacementUnavailableException("others wait for the pool's newest map", e);
        }

        try
        {
            if (isKnown()) return;
            if (_failure is { } failure && failure != before) throw new PlacementUnavailableException("who asked for the pool's newest map before did not get it", failure);
            await ask(stop.Token);
        }
        catch (PlacementUnavailableException e)
        {
            _failure = e;
            throw;
        }
        finally
        {
            _one.Release();
        }
    }

    public void Dispose() => _one.Dispose();
}
