using ObjectStore.S3.Errors;
using ObjectStore.Storage;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Gateway.Objects;

/// <summary>Durable bytes that nothing names yet.</summary>
internal static class StoredBytes
{
    /// <summary>
    /// Refuses what took longer than <see cref="Hosting.GatewayOptions.LongestWrite"/> to arrive. Nothing named its extent all the while, and bytes that nothing names are deleted after the orphan grace: an
    /// extent that comes near that age may be gone in part, so no version may come to name it.
    /// </summary>
    public static async Task RefuseOverdueAsync(S3Request request, ExtentLayout stored)
    {
        if (request.Services.Time.GetUtcNow().ToUnixTimeMilliseconds() - stored.Id.CreatedUnixMs <= request.Services.Options.LongestWrite.TotalMilliseconds) return;
        await DiscardAsync(request, stored);
        throw new S3Exception(S3ErrorCode.RequestTimeout);
    }

    /// <summary>Deletes bytes that will never be named. Where a drive does not answer they stay on it until the scrub finds that nothing names them: that is no reason for another answer to the client.</summary>
    public static async Task DiscardAsync(S3Request request, ExtentLayout stored)
    {
        try
        {
            await request.Services.Extents.DeleteAsync(stored, CancellationToken.None);
        }
        catch (StorageException)
        {
            // An orphan, at worst.
        }
    }
}
