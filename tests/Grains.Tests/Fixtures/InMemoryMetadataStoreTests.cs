using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.Metadata.Tests;
using ObjectStore.Testing;

namespace ObjectStore.Grains.Tests
{
    /// <summary>The grains' tests are worth what their store is: it passes the suite that the real stores pass.</summary>
    public sealed class InMemoryMetadataStoreConformance : MetadataStoreConformance
    {
        protected override Task<IMetadataStore> OpenStoreAsync() => Task.FromResult<IMetadataStore>(new InMemoryMetadataStore());

        protected override Task CloseStoreAsync() => Task.CompletedTask;
    }
}

namespace ObjectStore.Metadata.Tests
{
    /// <summary>The records that the linked suite takes from the codec's tests, which are not linked: a store without an encoding keeps any.</summary>
    internal static class RecordCodecTests
    {
        public static ObjectVersion Rich() => Build.Version(Build.Extent()) with
        {
            IsNullVersion = false,
            StorageClass = "GLACIER_IR",
            Headers = new ObjectHeaders { ContentType = "text/plain", Values = [new("x-amz-meta-a", "b")] },
            Checksum = new ObjectChecksum("SHA256", true, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-2"),
        };

        public static UploadInfo RichUpload() => new(
            new VersionId(1, 2), new BucketId(77), "dir/key", "owner", 1_700_000_000_123, "DEEP_ARCHIVE", new ObjectHeaders { ContentType = "a/b" }, "CRC32C", true);
    }
}
