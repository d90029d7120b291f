using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Silo.Hosting;

/// <summary>Asks drives for their statistics, each by itself and not for longer than a limit.</summary>
internal static class DriveQuestions
{
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(5);

    /// <summary>Null, and why, where the drive fails or does not answer in time.</summary>
    public static async Task<(DriveStatistics? Statistics, string Reason)> AskAsync(IFragmentStore drive, TimeSpan limit, TimeProvider time, CancellationToken cancellationToken)
    {
        using CancellationTokenSource late = new(limit, time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellationToken);
        try
        {
            // The drive may hang before its first await.
            return (await Task.Run(() => drive.GetStatisticsAsync(either.Token).AsTask(), either.Token).WaitAsync(either.Token), "");
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return (null, $"it has not answered within {limit.TotalSeconds:0.#} s");
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // Whatever it is, it is this drive's, and its node's other drives are none the worse.
            return (null, e.Message);
        }
    }
}
