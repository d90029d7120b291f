namespace ObjectStore.Metadata;

/// <summary>Another process (or another store of this one) has the database open. The message says which folder.</summary>
public sealed class MetadataStoreInUseException : MetadataStoreException
{
    /// <summary>With a cause.</summary>
    public MetadataStoreInUseException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
