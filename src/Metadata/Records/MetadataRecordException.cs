namespace ObjectStore.Metadata;

/// <summary>A record in the database cannot be read: it is damaged, or a newer binary wrote it. It is never reported as "not found".</summary>
public sealed class MetadataRecordException : MetadataStoreException
{
    /// <summary>With a cause.</summary>
    public MetadataRecordException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
