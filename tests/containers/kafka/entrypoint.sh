# KAFKA_NODE_ID=1 in the environment is node.id=1 in server.properties.
set -eu
settings=/tmp/server.properties
env | sed -n 's/^KAFKA_//p' | while IFS='=' read -r name value; do
    printf '%s=%s\n' "$(printf %s "$name" | tr 'A-Z_' 'a-z.')" "$value"
done >$settings
# shellcheck disable=SC2086  # options, separated by spaces
set -- /opt/java/bin/java ${KAFKA_HEAP_OPTS:-} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
    -cp '/opt/kafka/*'
"$@" kafka.tools.StorageTool format --ignore-formatted -t "$CLUSTER_ID" -c $settings
exec "$@" kafka.Kafka $settings
