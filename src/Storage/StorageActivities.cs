using System.Diagnostics;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage;

/// <summary>The traces of the source "ObjectStore.Storage": large writes, large reads, recovery. Without a listener nothing is made.</summary>
internal static class StorageActivities
{
    public const string SourceName = "ObjectStore.Storage";
    private static readonly ActivitySource Source = new(SourceName);

    public static Activity? StartWrite(ExtentId extent) => Source.HasListeners() ? Detached("storage.write")?.SetTag("objectstore.extent", extent.ToString()) : null;

    /// <summary>Not made the current one: it is ended by whoever disposes of the reader, perhaps in another context.</summary>
    public static Activity? StartRead(ExtentId extent, long lengthBytes)
        => Source.HasListeners() ? Detached("storage.read")?.SetTag("objectstore.extent", extent.ToString()).SetTag("objectstore.bytes", lengthBytes) : null;

    public static Activity? StartRecovery(Guid driveId, string path)
        => Source.HasListeners() ? Source.StartActivity("storage.recovery")?.SetTag("objectstore.drive", driveId.ToString()).SetTag("objectstore.path", path) : null;

    private static Activity? Detached(string name)
    {
        Activity? current = Activity.Current;
        Activity? started = Source.StartActivity(name);
        Activity.Current = current;
        return started;
    }
}
