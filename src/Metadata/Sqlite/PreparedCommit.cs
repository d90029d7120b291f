using System.Collections.Immutable;
using ObjectStore.Grains;
using ObjectStore.Metadata.Records;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>A range commit, encoded in the caller's thread: what the writer thread does is what only it can do.</summary>
internal sealed class PreparedCommit
{
    internal PreparedCommit(RangeCommit commit)
    {
        Commit = commit;
        Mutations = new PreparedMutation[commit.Mutations.Length];
        for (int i = 0; i < Mutations.Length; i++)
        {
            Mutations[i] = new PreparedMutation(commit.Mutations[i]);
        }
    }

    internal RangeCommit Commit { get; }

    internal PreparedMutation[] Mutations { get; }
}

/// <summary>One mutation with its key and record as bytes.</summary>
internal sealed class PreparedMutation
{
    internal PreparedMutation(ObjectMutation mutation)
    {
        Mutation = mutation;
        Key = ObjectKeys.ToUtf8Checked(mutation.Key);
        Remove = mutation.Remove.IsDefault ? [] : mutation.Remove;
        if (mutation.Insert is { } insert)
        {
            if (insert.VersionId.IsNone)
            {
                throw new ArgumentException("A version to insert needs an id.", nameof(mutation));
            }

            Record = MetadataRecords.EncodeVersion(insert);
        }
    }

    internal ObjectMutation Mutation { get; }

    internal byte[] Key { get; }

    internal byte[]? Record { get; }

    internal ImmutableArray<VersionId> Remove { get; }
}
